// Comforts only: every form works without this file.
"use strict";

// A password can be looked at while it is typed.
for (const button of document.querySelectorAll("[data-reveal]")) {
  const input = document.getElementById(button.dataset.reveal);
  button.hidden = false;
  button.addEventListener("click", () => {
    const show = input.type === "password";
    input.type = show ? "text" : "password";
    [button.textContent, button.dataset.other] = [button.dataset.other, button.textContent];
    input.focus();
  });
  // Password managers learn the field as a password only.
  input.form.addEventListener("submit", () => { input.type = "password"; });
}

// "Send again" counts down its wait.
for (const button of document.querySelectorAll("[data-wait]")) {
  const text = button.textContent;
  const free = Date.now() + button.dataset.wait * 1000;
  const tick = () => {
    const left = Math.ceil((free - Date.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? button.dataset.later.replace("{n}", left) : text;
    if (left > 0) setTimeout(tick, 1000);
  };
  tick();
}

// The phone stays awake while its card is live.
let awake = null;
const wake = async () => {
  if (awake || document.hidden || !document.querySelector("#clock.live")) return;
  try {
    awake = await navigator.wakeLock.request("screen");
    awake.addEventListener("release", () => { awake = null; });
  } catch { /* low battery, or not allowed: the phone sleeps as it always does */ }
};
if (navigator.wakeLock && document.getElementById("clock")) {
  wake();
  document.addEventListener("visibilitychange", wake);
  document.addEventListener("htmx:afterSettle", () => {
    if (awake && !document.querySelector("#clock.live")) awake.release();
  });
}
