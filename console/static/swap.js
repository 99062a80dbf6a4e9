// Replaces a part of the page instead of loading all of it. Every form and page works
// without this module.
//
//   <form data-swap="#votes">        sends itself; the element of that id is replaced
//   <section id="run" data-refresh="5">  reads the page again every five seconds

const parse = (html) => new DOMParser().parseFromString(html, "text/html");
const told = (root) => document.dispatchEvent(new CustomEvent("reeve:swap", { detail: root }));

function replace(selector, doc) {
  const here = document.querySelector(selector), there = doc.querySelector(selector);
  if (!here || !there) return false;
  const focus = here.contains(document.activeElement) && document.activeElement.id;
  here.replaceWith(there);
  if (focus) document.getElementById(focus)?.focus();
  told(there);
  return true;
}

// messages brings the flash and the faults of a form over from the answer.
function messages(doc) {
  document.querySelectorAll("main > .flash").forEach((f) => f.remove());
  const head = document.querySelector("main > .tabs") || document.querySelector("main > .head");
  [...doc.querySelectorAll("main > .flash")].reverse().forEach((f) => head?.after(f));
  document.getElementById("errors")?.focus();
}

document.addEventListener("submit", async (e) => {
  const form = e.target, target = form.dataset.swap;
  if (!target || form.method === "dialog") return;
  e.preventDefault();
  const data = new FormData(form, e.submitter), buttons = form.querySelectorAll("button");
  const options = { headers: { "X-Requested-With": "swap" } };
  let address = form.action;
  if (form.method === "post") Object.assign(options, { method: "POST", body: form.enctype === "multipart/form-data" ? data : new URLSearchParams(data) });
  else address = form.action.split("?")[0] + "?" + new URLSearchParams(data);
  buttons.forEach((b) => (b.disabled = true));
  try {
    const res = await fetch(address, options);
    const doc = parse(await res.text());
    const moved = new URL(res.url).pathname;
    if (res.redirected ? moved === location.pathname : doc.querySelector(target)) {
      if (replace(target, doc)) {
        messages(doc);
        if (form.method === "get") history.replaceState(null, "", res.url);
        return;
      }
    }
    document.title = doc.title; // another page, or the page of an error: show it whole
    document.body.replaceWith(doc.body);
    if (res.redirected || form.method === "get") history.pushState(null, "", res.url);
    scrollTo(0, 0);
    told(document.body);
    document.getElementById("main")?.focus();
  } catch {
    form.removeAttribute("data-swap"); // no answer: let the browser try, and say what is wrong
    buttons.forEach((b) => (b.disabled = false));
    form.requestSubmit(e.submitter);
  }
});

addEventListener("popstate", () => location.reload());

// One timer for the page; it rests while nobody looks, or while someone is typing in it.
let since = 0;
setInterval(async () => {
  const parts = [...document.querySelectorAll("[data-refresh][id]")];
  if (!parts.length || document.hidden || parts.some((p) => p.querySelector("form :focus, details[open] :focus"))) return;
  if (++since < Math.min(...parts.map((p) => +p.dataset.refresh || 5))) return;
  since = 0;
  const res = await fetch(location.href).catch(() => null);
  if (!res?.ok) return;
  const doc = parse(await res.text());
  for (const p of parts) {
    const fresh = doc.getElementById(p.id);
    if (fresh && fresh.innerHTML !== p.innerHTML) { p.replaceWith(fresh); told(fresh); }
    else if (!fresh) p.removeAttribute("data-refresh");
    else if (!fresh.dataset.refresh) p.removeAttribute("data-refresh");
  }
}, 1000);
