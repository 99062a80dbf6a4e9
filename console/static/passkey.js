// Asks the security key of whoever is at the browser, for forms that carry its answer.
//
//   <form data-passkey="create" data-options="/console/passkeys/options">   registers one
//   <form data-passkey="get" data-options="/console/passkeys/vote-options"> signs a vote
//
// The form has an input named "assertion" for the answer and a [data-passkey-say] for
// what went wrong. Buttons that need the key wait, disabled, for this module, which takes
// [data-without-script] away.

const bytes = (s) => Uint8Array.from(atob(s.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (b) => btoa(String.fromCharCode(...new Uint8Array(b))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const many = (list) => (list ?? []).map((c) => ({ ...c, id: bytes(c.id) }));

function awake(root) {
  root.querySelectorAll("form[data-passkey] button[data-needs-key]").forEach((b) => (b.disabled = false));
  root.querySelectorAll("form[data-passkey] [data-without-script]").forEach((p) => (p.hidden = true));
}

function say(form, what) {
  const at = form.querySelector("[data-passkey-say]");
  at.textContent = what;
  at.hidden = !what;
}

async function ask(form, data) {
  const res = await fetch(form.dataset.options, { method: "POST", body: data });
  const answer = await res.json().catch(() => ({ error: "The server did not answer. Try again." }));
  if (!res.ok) throw new Error(answer.error);
  const o = answer, site = o.rpId ?? o.rp?.id;
  if (location.hostname !== site && !location.hostname.endsWith("." + site))
    throw new Error(`Security keys work on ${site} only. Open this page there: browsers use none on ${location.hostname}.`);
  if (!navigator.credentials) throw new Error("This browser uses security keys on secure pages only.");
  o.challenge = bytes(o.challenge);
  let got;
  if (form.dataset.passkey === "create") {
    got = await navigator.credentials.create({ publicKey: { ...o, user: { ...o.user, id: bytes(o.user.id) }, excludeCredentials: many(o.excludeCredentials) } });
  } else {
    got = await navigator.credentials.get({ publicKey: { ...o, allowCredentials: many(o.allowCredentials) } });
  }
  const r = got.response, out = { clientDataJSON: text(r.clientDataJSON) };
  if (r.attestationObject) Object.assign(out, { attestationObject: text(r.attestationObject), transports: r.getTransports?.() ?? [] });
  else {
    Object.assign(out, { authenticatorData: text(r.authenticatorData), signature: text(r.signature) });
    if (r.userHandle) out.userHandle = text(r.userHandle);
  }
  return JSON.stringify({ id: got.id, rawId: text(got.rawId), type: got.type, clientExtensionResults: {}, response: out });
}

document.addEventListener("submit", async (e) => {
  const form = e.target, button = e.submitter;
  if (!form.dataset.passkey || !button?.hasAttribute("data-needs-key") || form.dataset.answered) return;
  e.preventDefault();
  say(form, "");
  const data = new URLSearchParams(new FormData(form, button)); // before the button is disabled and left out
  data.delete("assertion");
  button.disabled = true;
  try {
    form.elements.assertion.value = await ask(form, data);
    form.dataset.answered = "yes";
  } catch (err) {
    say(form, err.name === "NotAllowedError" ? "The security key was not used. Try again." : err.name === "InvalidStateError" ? "This security key is registered already." : err.message);
  }
  button.disabled = false;
  if (form.dataset.answered) form.requestSubmit(button);
});

document.addEventListener("reeve:swap", (e) => awake(e.detail));
addEventListener("pageshow", () => document.querySelectorAll("form[data-answered]").forEach((f) => delete f.dataset.answered));
awake(document);
