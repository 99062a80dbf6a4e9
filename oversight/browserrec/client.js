// Records what happens in an impersonated page by the recorder that the operator
// installed, and sends it on. What must not be recorded is masked here before it
// leaves; the server looks again.
import { record } from "./record.js";

const own = document.getElementById("reeve-recording"), MASK = "•••", EVERY = 4000, MOST = 240 * 1024;
const fields = (own.dataset.fields || "").split(" ").filter(Boolean);
const tab = (sessionStorage.reeveTab ||= crypto.randomUUID());
const telling = ["value", "placeholder", "title", "alt", "label", "content", "href", "src", "srcset", "action", "datetime", "download", "summary", "list"];
const holding = ["input", "textarea", "select", "option", "output", "meter", "progress"];
const secret = (v) => fields.some((f) => String(v).toLowerCase().includes(f));
const mask = (t) => (t && t.trim() ? MASK : t);

// The recorder masks what is typed; hidden fields, choices and attributes that repeat a
// value it does not.
function attributes(tag, attrs, masked) {
  const a = attrs || {};
  if (holding.includes(tag) && [a.name, a.id, a.autocomplete].some((v) => v && secret(v))) masked = true;
  if ("data-mask" in a) masked = true;
  for (const k of Object.keys(a)) {
    const value = k === "value" && holding.includes(tag) && !["submit", "reset", "button"].includes(a.type);
    if (k === "checked" || k === "selected") delete a[k];
    else if (typeof a[k] === "string" && a[k] && (value || (masked && (telling.includes(k) || k.startsWith("aria-") || (k.startsWith("data-") && k !== "data-mask"))))) a[k] = MASK;
  }
  return masked;
}

function clean(node, masked, tag) {
  if (node.type === 2) masked = attributes(node.tagName, node.attributes, masked);
  if (node.type === 3 && (masked || tag === "textarea")) node.textContent = mask(node.textContent);
  for (const k of node.childNodes || []) clean(k, masked, node.tagName);
}

const hidden = (id) => {
  const n = record.mirror.getNode(id), e = n && (n.nodeType === 1 ? n : n.parentElement);
  return !e || !!e.closest("[data-mask]") || e.tagName === "TEXTAREA";
};

function scrub(e) {
  if (e.type === 2) clean(e.data.node, false);
  if (e.type !== 3) return e;
  const d = e.data;
  if (d.source === 5) d.text = d.text ? MASK : "", d.isChecked = false;
  if (d.source === 0) {
    for (const a of d.adds) clean(a.node, hidden(a.parentId), (record.mirror.getNode(a.parentId)?.tagName || "").toLowerCase());
    for (const t of d.texts) if (hidden(t.id)) t.value = mask(t.value);
    for (const a of d.attributes) {
      const n = record.mirror.getNode(a.id);
      attributes((n?.tagName || "input").toLowerCase(), a.attributes, hidden(a.id));
    }
  }
  return e;
}

let waiting = [], size = 0, lost = 0, n = 0, sending = null, closed = false;
const body = (events, state, number, missing) => JSON.stringify({ page: own.dataset.page, tab, n: number, state, lost: missing, events: events.map((e) => JSON.parse(e.line)) });
const state = () => (document.visibilityState === "hidden" ? "hidden" : "open");

async function send() {
  if (sending || closed) return;
  let batch = [], bytes = 0;
  while (waiting.length && bytes + waiting[0].bytes < MOST) bytes += waiting[0].bytes, batch.push(waiting.shift());
  size -= bytes;
  const number = batch.length || lost ? ++n : 0, missing = lost;
  lost = 0;
  sending = body(batch, state(), number, missing);
  for (let wait = 500; !closed; wait = Math.min(wait * 2, 4000)) {
    try {
      const r = await fetch(own.dataset.to, { method: "POST", body: sending, headers: { "Content-Type": "application/json" } });
      if (r.status === 401) closed = true; // the session is over
      if (!r.ok && r.status < 500 && r.status !== 429) lost += batch.length; // asking again changes nothing
      if (r.status < 500 && r.status !== 429) break;
    } catch { /* the way is cut: again */ }
    await new Promise((go) => setTimeout(go, wait));
  }
  sending = null;
  if (bytes && waiting.length) send();
}

record({
  emit(e) {
    const line = JSON.stringify(scrub(e)), bytes = new TextEncoder().encode(line).length;
    if (closed || bytes > MOST || size + bytes > 1 << 20) return void lost++;
    waiting.push({ line, bytes }), (size += bytes);
    if (size > MOST / 2 || n === 0) send();
  },
  maskAllInputs: true,
  maskInputFn: mask,
  maskTextSelector: "[data-mask]",
  maskTextFn: mask,
  recordCanvas: false,
  inlineImages: false,
  collectFonts: false,
  slimDOMOptions: "all",
  sampling: { mousemove: 100, scroll: 200, input: "last" },
});
setInterval(send, EVERY);
document.addEventListener("visibilitychange", send);
// The last words have to be short: a page that is left may send 64 KiB.
addEventListener("pagehide", () => {
  let batch = [], bytes = 0;
  while (waiting.length && bytes + waiting[0].bytes < 48000) bytes += waiting[0].bytes, batch.push(waiting.shift());
  const last = body(batch, "closed", ++n, lost + waiting.length);
  closed = true;
  fetch(own.dataset.to, { method: "POST", body: last, keepalive: true, headers: { "Content-Type": "application/json" } }).catch(() => {});
});
addEventListener("pageshow", (e) => e.persisted && location.reload());
