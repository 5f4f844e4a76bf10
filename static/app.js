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

// A second tap on a slow line sends nothing twice: the answer to the first would be lost, and a code is good once.
for (const form of document.forms) {
  let sent = -Infinity;
  form.addEventListener("submit", (event) => {
    if (performance.now() - sent < 10000) event.preventDefault();
    else sent = performance.now();
  });
  addEventListener("pageshow", () => { sent = -Infinity; }); // Back, to a page that was kept
}

// The other language is a page of its own. What was typed goes there too, but no password and no code.
const plain = [...document.querySelectorAll("main input")].filter(
  (input) => ["text", "email"].includes(input.type) && !input.readOnly && !/password|one-time-code/.test(input.autocomplete));
try {
  const typed = JSON.parse(sessionStorage.getItem("typed")) || {};
  sessionStorage.removeItem("typed");
  if (typed.at === location.pathname) for (const input of plain) input.value = typed[input.name] || input.value;
  document.querySelector(".language").addEventListener("submit", () => {
    const kept = { at: location.pathname };
    for (const input of plain) kept[input.name] = input.value;
    sessionStorage.setItem("typed", JSON.stringify(kept));
  });
} catch (error) { /* a browser that stores nothing */ }

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

// Back from the next page asks for the form again, instead of sending what was refused once more.
if (document.querySelector(".problems")) {
  const form = document.querySelector(".problems ~ form");
  history.replaceState(null, "", form ? form.action : location.href);
}

// The certificate: htmx polls and CSS covers; what follows makes the clock regular, the veil say more, and the phone stay awake.
const poller = document.getElementById("tap");
if (poller && !window.htmx) document.querySelector(".unread").hidden = false;
if (poller && window.htmx) {
  const clock = () => document.getElementById("clock");
  let sent = 0, asked = 0, born = Date.now(), turn = 0, awake = null;

  // Each tick falls into the middle of a server's second: the server says when it did not, and the polling begins anew. It does at
  // once after a tick that was long on its way, or the next would be late for the veil. A tick that took little more than a second
  // costs one second, and keeps the pace.
  const begin = () => {
    poller.dataset.since = performance.now(); // htmx begins anew where an attribute differs
    htmx.process(poller);
    htmx.trigger(poller, "load");
  };
  const beat = () => {
    clearTimeout(turn);
    const gone = performance.now() - sent;
    const next = gone > 1500 ? gone : clock().dataset.next;
    if (next && !document.hidden && document.contains(poller)) turn = setTimeout(begin, Math.max(0, next - gone));
  };

  // Out of sight the card loses its life: engines stop the veil's animation there. The first tick in sight brings it back.
  const die = () => { clock().classList.remove("live"); };
  const hide = () => { if (document.hidden) die(); };

  // Asked again at each tick and tap, since WebKit grants it on a tap alone.
  const wake = async () => {
    const over = clock().matches(".ended");
    if (awake && over) awake.release();
    if (awake || over || document.hidden || !navigator.wakeLock) return;
    try {
      awake = await navigator.wakeLock.request("screen");
      awake.addEventListener("release", () => { awake = null; });
    } catch { /* low battery, or not allowed: the phone sleeps as it always does */ }
  };

  document.addEventListener("visibilitychange", hide);
  document.addEventListener("visibilitychange", wake);
  document.addEventListener("click", wake);
  document.addEventListener("htmx:beforeSend", () => { sent = performance.now(); asked = Date.now(); });
  document.addEventListener("htmx:beforeSwap", (event) => {
    // Neither a tick nor the end, as a login page of somebody else's network: the poller needs its clock.
    if (!event.detail.serverResponse.startsWith('<div id="clock"')) event.detail.shouldSwap = false;
    else born = asked;
  });
  for (const act of [hide, beat, wake]) document.addEventListener("htmx:afterSettle", act);
  // A tick lives from when it is drawn. After a sleep that may be long after it was asked for: then it is dead.
  document.addEventListener("animationstart", (event) => {
    if (event.animationName === "hidden-while-fresh" && Math.abs(Date.now() - born) > 5000) die();
  });
  // The veil of the last tick is over all. The page's own says more.
  document.addEventListener("animationend", (event) => {
    if (event.animationName === "hidden-while-fresh") die();
  });
  // The same for a page that is left, since Back may bring it again as it was.
  addEventListener("pagehide", die);
  addEventListener("pageshow", (event) => { if (event.persisted) die(); }); // a tick may have come after the page was left
  wake();
}
