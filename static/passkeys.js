// Login by the phone's own lock. Without this file, or on a phone that cannot, its forms stay hidden.
"use strict";
{
  const LIFE = 4 * 60 * 1000; // a challenge is good for five minutes

  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  // Asks the phone what the server wants to know, and sends its answer by the form. By hand, since browsers before 2025 have
  // no parseRequestOptionsFromJSON.
  const ask = async (form, how) => {
    const given = await fetch(form.dataset.options, { method: "POST" });
    if (!given.ok || given.redirected) throw new Error(given.status);
    const publicKey = await given.json();
    publicKey.challenge = bytes(publicKey.challenge);
    if (publicKey.user) publicKey.user.id = bytes(publicKey.user.id);
    for (const known of publicKey.excludeCredentials || []) known.id = bytes(known.id);
    const found = await navigator.credentials[publicKey.user ? "create" : "get"]({ publicKey, ...how });
    const response = {};
    for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (found.response[name]) response[name] = text(found.response[name]);
    }
    form.elements.answer.value = JSON.stringify({ id: found.id, rawId: text(found.rawId), type: found.type, response });
    form.submit();
  };

  // The phone offers its passkey above the keyboard, and asks nobody who has none.
  const suggest = async (form) => {
    const key = PublicKeyCredential;
    if (!key.isConditionalMediationAvailable || !(await key.isConditionalMediationAvailable())) return;
    document.getElementById("username").autocomplete = "username webauthn";
    for (;;) {
      const control = new AbortController();
      const timer = setTimeout(() => control.abort(), LIFE);
      try {
        return await ask(form, { mediation: "conditional", signal: control.signal });
      } catch {
        clearTimeout(timer);
        if (!control.signal.aborted) return;
      }
    }
  };

  const show = (form) => {
    form.closest("[data-able]").hidden = false;
    for (const other of document.querySelectorAll("[data-unable]")) other.hidden = true;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const [button, failed] = [form.querySelector("button"), form.querySelector("[role=status]")];
      button.disabled = true;
      failed.textContent = "";
      ask(form).catch((error) => {
        failed.textContent = error.name === "InvalidStateError" ? failed.dataset.known : failed.dataset.failed;
      }).then(() => { button.disabled = false; });
    });
  };

  const start = async () => {
    if (!window.PublicKeyCredential) return;
    if (!(await PublicKeyCredential.isUserVerifyingPlatformAuthenticatorAvailable())) return;
    for (const form of document.querySelectorAll("form[data-options]")) {
      if (form.hasAttribute("data-suggest")) suggest(form);
      else show(form);
    }
  };
  start();
}
