// The command palette: Ctrl K or ⌘K opens it. It reads the same page as the search box.

const form = () => document.querySelector("form[data-palette]");
let dialog, input, list, at = 0, asked = 0;

function build() {
  dialog = document.createElement("dialog");
  dialog.className = "palette";
  dialog.setAttribute("aria-label", "Search and commands");
  dialog.innerHTML = `<input type="search" role="combobox" aria-expanded="true" aria-controls="palette-list" aria-label="Search" autocomplete="off" spellcheck="false" placeholder="Go to a page, a tenant, an approval"><ul id="palette-list" role="listbox" aria-label="Results"></ul>`;
  document.body.append(dialog);
  input = dialog.querySelector("input");
  list = dialog.querySelector("ul");
  input.addEventListener("input", ask);
  dialog.addEventListener("keydown", keys);
  dialog.addEventListener("click", (e) => {
    if (e.target === dialog) dialog.close();
    const hit = e.target.closest("li");
    if (hit) location.assign(hit.dataset.hit);
  });
}

// pages are the entries of the navigation: what one can go to without asking.
function pages() {
  return [...document.querySelectorAll(".side a")].map((a) => ({ href: a.href, title: a.querySelector("span").textContent, kind: "Page", icon: a.querySelector("svg") }));
}

function show(hits) {
  list.replaceChildren(...hits.map((h, i) => {
    const li = document.createElement("li");
    li.id = "hit-" + i;
    li.role = "option";
    li.dataset.hit = h.href;
    if (h.icon) li.append(h.icon.cloneNode(true));
    const title = document.createElement("span");
    title.textContent = h.title;
    const kind = document.createElement("span");
    kind.className = "mute";
    kind.textContent = h.meta ? h.meta + " · " + h.kind : h.kind;
    li.append(title, kind);
    return li;
  }));
  if (!hits.length) {
    const none = document.createElement("p");
    none.textContent = "Nothing found.";
    list.append(none);
  }
  select(0);
}

function select(i) {
  const all = list.querySelectorAll("li");
  if (!all.length) return input.removeAttribute("aria-activedescendant");
  at = (i + all.length) % all.length;
  all.forEach((li, k) => li.setAttribute("aria-selected", k === at));
  all[at].scrollIntoView({ block: "nearest" });
  input.setAttribute("aria-activedescendant", "hit-" + at);
}

async function ask() {
  const q = input.value.trim(), turn = ++asked;
  if (!q) return show(pages());
  await new Promise((done) => setTimeout(done, 90)); // let fast typing pass
  if (turn !== asked) return;
  const res = await fetch(form().dataset.palette + "?q=" + encodeURIComponent(q)).catch(() => null);
  if (!res?.ok || turn !== asked) return;
  const doc = new DOMParser().parseFromString(await res.text(), "text/html");
  show([...doc.querySelectorAll("[data-hit]")].map((li) => ({
    href: li.dataset.hit, kind: li.dataset.kind, title: li.querySelector("a").textContent, meta: li.querySelector(".row-main .mute")?.textContent, icon: li.querySelector("svg"),
  })));
}

function keys(e) {
  if (e.key === "ArrowDown") select(at + 1);
  else if (e.key === "ArrowUp") select(at - 1);
  else if (e.key === "Enter") {
    const hit = list.querySelectorAll("li")[at];
    location.assign(hit ? hit.dataset.hit : form().action + "?q=" + encodeURIComponent(input.value));
  } else return;
  e.preventDefault();
}

document.addEventListener("keydown", (e) => {
  if (e.key.toLowerCase() !== "k" || !(e.ctrlKey || e.metaKey) || e.altKey || e.shiftKey || !form()) return;
  e.preventDefault();
  if (!dialog?.isConnected) build();
  if (dialog.open) return dialog.close();
  input.value = "";
  show(pages());
  dialog.showModal();
});

const hint = document.querySelector(".search kbd");
if (hint && /Mac|iP/.test(navigator.platform)) hint.textContent = "⌘K";
