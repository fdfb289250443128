// The status page's script: times in the visitor's zone, live regions, endless search, uploads by drop and camera.
// Every page works without it. It asks nobody but the server that it came from.
"use strict";

const root = document.body.dataset.root;
const language = document.documentElement.lang;
document.documentElement.classList.add("has-script");

// --- times in the visitor's zone ---

const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const hour = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(language, { day: "numeric", month: "short", year: "numeric" });
const whole = new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "long" });

function localize(part) {
  for (const each of part.querySelectorAll("time[datetime]")) {
    const at = new Date(each.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const isToday = day.format(at) === day.format(new Date());
    each.textContent = isToday ? clock.format(at) : `${day.format(at)}, ${hour.format(at)}`;
    each.title = whole.format(at);
  }
  for (const each of part.querySelectorAll("[data-hour]")) {
    each.textContent = hour.format(new Date(each.dataset.hour));
  }
}

// --- pictures ---

function watchPictures(part) {
  for (const picture of part.querySelectorAll("img[data-missing]")) {
    const arrived = () => picture.classList.add("is-there");
    const missing = () => {
      const words = document.createElement("p");
      words.className = "no-picture";
      words.textContent = picture.dataset.missing;
      picture.replaceWith(words);
    };
    if (picture.complete) {
      (picture.naturalWidth ? arrived : missing)();
    } else {
      picture.addEventListener("load", arrived);
      picture.addEventListener("error", missing);
    }
  }
}

// --- live regions ---

const pulseSeconds = 2;
const shown = new Map(); // what each region had last, by its id
let pulse = document.body.dataset.beat; // of the moment just before what is shown was read

async function fetched(address) {
  const answer = await fetch(address, { credentials: "same-origin", headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(String(answer.status));
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function swap(fresh) {
  localize(fresh);
  for (const region of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(region.id);
    if (other === null) {
      if (region.id === "failed-count") region.remove();
      continue;
    }
    if (other.className !== region.className) region.className = other.className;
    if (other.innerHTML === shown.get(region.id)) continue;
    const focused = region.contains(document.activeElement) ? pathOf(document.activeElement, region) : null;
    const typed = [...region.querySelectorAll('input[type="text"]')].map((each) => each.value);
    const isOpen = [...region.querySelectorAll("details")].map((each) => each.open);
    shown.set(region.id, other.innerHTML);
    region.replaceChildren(...other.cloneNode(true).childNodes);
    region.querySelectorAll("details").forEach((each, number) => { each.open = Boolean(isOpen[number]); });
    region.querySelectorAll('input[type="text"]').forEach((each, number) => { each.value = typed[number] ?? ""; });
    if (focused !== null) at(region, focused)?.focus({ preventScroll: true });
  }
  const count = fresh.getElementById("failed-count");
  if (count !== null && document.getElementById("failed-count") === null) {
    document.querySelector('.top nav a[href$="/failed"]')?.append(" ", count);
  }
}

function pathOf(node, region) {
  const path = [];
  for (let each = node; each !== region; each = each.parentElement) {
    path.unshift([...each.parentElement.children].indexOf(each));
  }
  return path;
}

function at(region, path) {
  return path.reduce((each, number) => each?.children[number], region);
}

function remember() {
  for (const region of document.querySelectorAll("[data-live]")) shown.set(region.id, region.innerHTML);
}

async function look() {
  const live = document.getElementById("live");
  try {
    const answer = await fetch(document.body.dataset.pulse, { credentials: "same-origin", cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const now = (await answer.json()).pulse;
    if (now !== pulse) {
      const fresh = await fetched(location.href);
      swap(fresh);
      pulse = fresh.body.dataset.beat;
    }
    if (live.textContent) live.textContent = "";
  } catch {
    if (!live.textContent) live.textContent = document.body.dataset.off;
  }
}

async function keepLooking() {
  if (!document.hidden) await look();
  setTimeout(keepLooking, pulseSeconds * 1000);
}

// --- a search that goes on by itself, as far as one page of finds ---

const enough = 50;

async function searchFurther() {
  let further = document.querySelector("#pager a[data-searching]");
  while (further !== null && document.querySelectorAll("#list tbody tr, #list .failures > li").length < enough) {
    const told = document.querySelector("#pager p");
    const list = document.getElementById("list");
    list.removeAttribute("data-live");
    further.setAttribute("aria-disabled", "true");
    further.textContent = further.dataset.searching;
    let fresh;
    try {
      fresh = await fetched(further.href);
    } catch {
      return;
    }
    localize(fresh);
    const rows = fresh.querySelectorAll("#list tbody tr, #list .failures > li");
    const target = list.querySelector("tbody, .failures");
    const pager = document.getElementById("pager");
    if (target !== null) target.append(...rows);
    else if (rows.length > 0) pager.before(fresh.querySelector("#list > table, #list > ul"));
    const next = fresh.getElementById("pager");
    if (next === null) {
      pager.remove();
    } else {
      if (next.querySelector("p") !== null && told !== null) {
        told.textContent = next.querySelector("p").textContent;
        next.querySelector("p").replaceWith(told);
      }
      next.querySelector('a[rel="prev"]')?.remove();
      pager.replaceWith(next);
    }
    if (next === null || next.querySelector("a[data-searching]") === null) {
      const nothing = fresh.querySelector("#list > .empty");
      if (nothing !== null && list.querySelector("tbody, .failures") === null) list.prepend(nothing);
    }
    further = document.querySelector("#pager a[data-searching]");
  }
}

// --- uploads ---

function startUploads(form) {
  const drop = document.getElementById("drop");
  document.getElementById("files").multiple = true; // a form takes one file; here each has a form of its own
  for (const input of form.querySelectorAll('input[type="file"]')) {
    input.addEventListener("change", () => {
      sendAll(form, [...input.files]);
      input.value = "";
    });
  }
  let depth = 0;
  const over = (change) => { depth = Math.max(0, depth + change); drop.classList.toggle("over", depth > 0); };
  document.addEventListener("dragenter", (event) => { event.preventDefault(); over(1); });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("dragleave", () => over(-1));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    over(0);
    sendAll(form, [...(event.dataTransfer?.files ?? [])]);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
}

async function sendAll(form, files) {
  document.getElementById("results").hidden = files.length === 0 && document.getElementById("uploads").children.length === 0;
  const rows = files.map((file) => [file, rowFor(form, file)]);
  for (const [file, row] of rows) await send(form, file, row); // one by one: a phone's line is narrow
}

function rowFor(form, file) {
  const row = document.createElement("li");
  row.className = "card upload-row";
  const name = document.createElement("bdi");
  name.className = "strong";
  name.textContent = file.name;
  const badge = document.createElement("span");
  badge.className = "badge";
  badge.textContent = form.dataset.sending;
  row.append(name, " ", badge);
  document.getElementById("uploads").prepend(row);
  return row;
}

async function send(form, file, row) {
  const body = new FormData();
  body.append("csrf", form.elements.csrf.value);
  body.append("inbox", form.elements.inbox.value);
  body.append("file", file, file.name);
  try {
    const answer = await fetch(form.action, { method: "POST", body, credentials: "same-origin", headers: { Accept: "application/json" } });
    const said = await answer.json();
    show(form, row, answer.ok ? said.status : "refused", said);
  } catch {
    show(form, row, "refused", { detail: form.dataset.broken });
  }
}

function show(form, row, kind, said) {
  const badge = row.querySelector(".badge");
  badge.className = `badge ${kind}`;
  badge.textContent = said.what ?? form.dataset.refused;
  if (said.job_id) {
    const link = document.createElement("a");
    link.href = `${root}/receipts/${said.job_id}`;
    link.textContent = form.dataset.show;
    badge.after(" ", link);
  }
  if (said.detail) {
    const words = document.createElement("p");
    words.className = "muted";
    words.textContent = said.detail;
    row.append(words);
  }
}

// --- start ---

localize(document);
remember();
watchPictures(document);
if (document.body.dataset.pulse) keepLooking();
searchFurther();
const uploadForm = document.getElementById("upload");
if (uploadForm !== null) startUploads(uploadForm);
