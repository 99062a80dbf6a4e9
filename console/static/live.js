// Small comforts: times that stay current, copy buttons, menus that close, and a cursor
// in charts which reads their table.

function ago(ms) {
  const s = Math.abs(ms) / 1000;
  if (s < 45) return "just now";
  const text = s < 5400 ? Math.round(s / 60) + "\u00a0min" : s < 129600 ? Math.round(s / 3600) + "\u00a0h" : Math.round(s / 86400) + "\u00a0d";
  return ms > 0 ? text + " ago" : "in " + text;
}

// The server's clock counts, not the reader's: the difference is taken once.
const stamps = new WeakMap();
function times(root) {
  root.querySelectorAll("time[data-rel]").forEach((t) => {
    if (!stamps.has(t)) stamps.set(t, Date.now());
  });
}
setInterval(() => document.querySelectorAll("time[data-rel]").forEach((t) => {
  const shown = stamps.get(t);
  if (shown && Date.now() - shown > 30000) t.textContent = ago(Date.now() - new Date(t.dateTime));
}), 30000);

function copies(root) {
  if (navigator.clipboard) root.querySelectorAll("[data-copy]").forEach((b) => (b.hidden = false));
}

document.addEventListener("click", async (e) => {
  const copy = e.target.closest("[data-copy]");
  if (copy) {
    await navigator.clipboard.writeText(copy.dataset.copy);
    copy.setAttribute("aria-label", "Copied");
    copy.classList.add("done");
    setTimeout(() => { copy.setAttribute("aria-label", "Copy"); copy.classList.remove("done"); }, 1600);
  }
  document.querySelectorAll("details.menu[open], details.nav-toggle[open]").forEach((d) => {
    if (!d.contains(e.target)) d.open = false;
  });
});
document.addEventListener("keydown", (e) => {
  if (e.key !== "Escape") return;
  document.querySelectorAll("details.menu[open], details.nav-toggle[open]").forEach((d) => { d.open = false; d.querySelector("summary").focus(); });
});

// A chart's cursor shows the row of its table nearest to the pointer; arrow keys move it.
function chart(figure) {
  const plot = figure.querySelector(".chart-plot"), line = plot?.querySelector(".cursor"), xs = figure.dataset.chart.split(" ").map(Number);
  const rows = figure.querySelectorAll(".twin tbody tr"), heads = figure.querySelectorAll(".twin thead th");
  if (!line || !rows.length) return;
  const tip = document.createElement("div");
  tip.className = "chart-tip";
  tip.hidden = true;
  tip.setAttribute("aria-live", "polite");
  figure.querySelector(".chart-body").append(tip);
  let at = -1;
  const show = (i) => {
    at = Math.max(0, Math.min(xs.length - 1, i));
    const cells = rows[at].children, title = document.createElement("strong");
    title.textContent = cells[0].textContent;
    tip.replaceChildren(title, ...[...cells].slice(1).filter((c) => c.textContent !== "–").map((c) => {
      const s = document.createElement("span"), b = document.createElement("b");
      s.textContent = heads[c.cellIndex].textContent;
      b.textContent = c.textContent;
      s.append(b);
      return s;
    }));
    tip.hidden = false;
    line.setAttribute("x1", xs[at] + "%");
    line.setAttribute("x2", xs[at] + "%");
    line.setAttribute("visibility", "visible");
    const width = plot.getBoundingClientRect().width, left = plot.parentElement.getBoundingClientRect(), x = plot.getBoundingClientRect().left - left.left + (width * xs[at]) / 100;
    tip.style.insetInlineStart = (x + tip.offsetWidth + 16 > left.width ? x - tip.offsetWidth - 12 : x + 12) + "px";
  };
  const hide = () => { tip.hidden = true; line.setAttribute("visibility", "hidden"); };
  plot.addEventListener("pointermove", (e) => {
    const box = plot.getBoundingClientRect(), p = (100 * (e.clientX - box.left)) / box.width;
    show(xs.reduce((best, x, i) => (Math.abs(x - p) < Math.abs(xs[best] - p) ? i : best), 0));
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (e) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!step) return;
    e.preventDefault();
    show(at < 0 ? xs.length - 1 : at + step);
  });
}

// A form that says "I am still here" says it by itself while the page is seen.
setInterval(() => {
  const f = document.querySelector("form[data-beat]");
  if (f && !document.hidden) fetch(f.action, { method: "POST", body: new URLSearchParams(new FormData(f)) }).catch(() => {});
}, 20000);

function begin(root) {
  times(root);
  copies(root);
  root.querySelectorAll("form[data-module]").forEach((f) => import(f.dataset.module));
  root.querySelectorAll("figure[data-chart]").forEach(chart);
  root.querySelectorAll(".table-wrap").forEach((w) => { if (w.scrollWidth > w.clientWidth && !w.querySelector("a, button, input")) w.tabIndex = 0; });
}
begin(document);
document.addEventListener("reeve:swap", (e) => begin(e.detail));
