// Keeps the status page up to date. Without JavaScript the page reloads itself instead.
"use strict";

const PAUSE = 5_000;
const PATIENCE = 15_000;
const summary = document.getElementById("summary");

// Writes only what has changed, so that a screen reader hears the summary when there is something new to say.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function show(slug, service) {
  const card = document.getElementById(slug);
  const field = (name) => card.querySelector(`[data-field="${name}"]`);
  const checked = "checked_at" in service;
  card.dataset.state = service.state;
  write(field("state"), service.state);
  write(field("latency"), checked ? `${service.latency_ms.toFixed(1)} ms` : "–");
  write(field("checked"), checked ? `${service.checked_at.slice(11, 19)} UTC` : "–");
}

async function refresh() {
  try {
    const response = await fetch("/", {
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (!response.ok) throw new Error(response.statusText);
    const status = await response.json();
    Object.entries(status.services).forEach(([slug, service]) => show(slug, service));
    write(summary, status.summary);
  } catch {
    write(summary, "The site does not answer. What is below was true when it last did.");
  }
}

async function keepFresh() {
  if (!document.hidden) await refresh();
  setTimeout(keepFresh, PAUSE);
}

setTimeout(keepFresh, PAUSE);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
