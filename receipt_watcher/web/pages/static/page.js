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
    each.textContent = hour.format(new Date(each.dataset.hour)) + (each.dataset.after ?? "");
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
let isBehind = false; // whether a region could not be renewed at the last look
let pulse = document.body.dataset.beat; // of the moment just before what is shown was read

async function fetched(address) {
  const answer = await fetch(address, { credentials: "same-origin", headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(String(answer.status));
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// Each region is changed in place: an element is the same as before if its key is, or, without one, its place and kind.
// So what the reader holds stays what it was: the focus, text that is typed, an open part, the place in a long text.
// While the reader is in a list, or the list has buttons, its rows stay where they are; the new ones are counted.
function swap(fresh) {
  localize(fresh);
  isBehind = false;
  for (const region of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(region.id);
    if (other === null) {
      if (region.id === "failed-count") region.remove();
      continue;
    }
    if (other.className !== region.className) region.className = other.className;
    if (other.innerHTML === shown.get(region.id)) continue;
    if (isSelected(region)) {
      isBehind = true; // the next look tries again: text that is being copied stays
      continue;
    }
    shown.set(region.id, other.innerHTML);
    renew(region, other);
  }
  const count = fresh.getElementById("failed-count");
  if (count !== null && document.getElementById("failed-count") === null) {
    document.querySelector('.top nav a[href$="/failed"]')?.append(" ", count);
  }
}

function isSelected(region) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(region, true);
}

function isInUse(list) {
  return list.hasAttribute("data-steady") || list.contains(document.activeElement) || list.matches(":hover");
}

function renew(region, other, isWanted = false) {
  const wanted = other.cloneNode(true);
  const list = region.querySelector("[data-rows]");
  const otherList = wanted.querySelector("[data-rows]");
  let news = 0;
  if (list !== null && !isWanted && isInUse(list)) {
    if (otherList === null) return mark(list, new Set()); // the last row has gone: its place stays
    news = keepRows(list, otherList);
  }
  tellNews(region, other, news);
  keepingFocus(() => {
    morphChildren(region, wanted);
    if (list === null || isWanted || !isInUse(list)) renewCompanions(region, other.ownerDocument);
  });
  if (list !== null && !isWanted && list.isConnected) mark(list, new Set(keysOf(other.querySelector("[data-rows]"))));
}

// What speaks of a list, such as the button that retries all that it shows, changes together with it.
function renewCompanions(region, fresh) {
  for (const each of document.querySelectorAll(`[data-with="${region.id}"]`)) {
    const other = fresh.getElementById(each.id);
    if (other !== null) morphChildren(each, other.cloneNode(true));
  }
}

// Put the rows that are shown into the fresh list, in their order, and return how many rows are new.
function keepRows(list, otherList) {
  const fresh = new Map([...otherList.children].map((row) => [row.dataset.key, row]));
  const before = [...list.children];
  const known = new Set(before.map((row) => row.dataset.key));
  otherList.replaceChildren(...before.map((row) => fresh.get(row.dataset.key) ?? row.cloneNode(true)));
  return [...fresh.keys()].filter((key) => !known.has(key)).length;
}

function keysOf(list) {
  return list === null ? [] : [...list.children].map((row) => row.dataset.key);
}

// A row that belongs to the list no more is dimmed, and its buttons do nothing; one that newer rows pushed to the next
// page is as it was.
function mark(list, present) {
  const rows = [...list.children];
  const last = rows.findLastIndex((row) => present.has(row.dataset.key));
  rows.forEach((row, number) => {
    const isGone = !present.has(row.dataset.key) && (number < last || present.size < rows.length);
    row.classList.toggle("gone", isGone);
    for (const button of row.querySelectorAll("button")) button.disabled = isGone;
  });
}

function tellNews(region, other, news) {
  const button = document.getElementById("news");
  if (button === null) return;
  if (news === 0 && button.dataset.region !== region.id) return;
  button.dataset.region = region.id;
  button.hidden = news === 0;
  button.textContent = news === 0 ? "" : button.dataset.words.replace("{count}", String(news));
  button.onclick = () => {
    button.hidden = true;
    shown.set(region.id, other.innerHTML);
    renew(region, other, true);
    region.scrollIntoView({ block: "nearest" });
    document.getElementById("main").focus({ preventScroll: true });
  };
}

// Moving an element takes its focus away, so it is given back to that element; if it has gone, to nobody's button.
function keepingFocus(change) {
  const focused = document.activeElement;
  change();
  if (focused === document.activeElement || focused === document.body) return;
  (focused.isConnected ? focused : document.getElementById("main")).focus({ preventScroll: true });
}

// A form is what it does and a link is where it leads, so neither ever becomes another one under somebody's hand.
function keyOf(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return "";
  const deed = node.matches("form[action]") ? [node.getAttribute("action"), ...sentBy(node)].join(" ") : "";
  return node.dataset.key || node.id || deed || node.getAttribute("href") || "";
}

function sentBy(form) {
  const fields = [...form.querySelectorAll('input[type="hidden"]')];
  return fields.filter((field) => field.name !== "csrf").map((field) => `${field.name}=${field.getAttribute("value")}`);
}

function isAlike(one, other) {
  return one !== null && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);
}

function morphChildren(here, fresh) {
  const wanted = new Set([...fresh.childNodes].map(keyOf));
  const keyed = new Map();
  for (const node of [...here.childNodes]) {
    if (!keyOf(node)) continue;
    if (!wanted.has(keyOf(node)) || keyed.has(keyOf(node))) node.remove();
    else keyed.set(keyOf(node), node);
  }
  let at = here.firstChild;
  for (const next of [...fresh.childNodes]) {
    const match = keyOf(next) ? keyed.get(keyOf(next)) ?? null : at;
    keyed.delete(keyOf(next));
    if (!isAlike(match, next)) {
      here.insertBefore(next, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else here.insertBefore(match, at);
    morph(match, next);
  }
  while (at !== null) {
    const after = at.nextSibling;
    at.remove();
    at = after;
  }
}

function morph(here, fresh) {
  if (here.nodeType !== Node.ELEMENT_NODE) {
    if (here.nodeValue !== fresh.nodeValue) here.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...here.attributes]) {
    if (name !== "open" && !fresh.hasAttribute(name)) here.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (here.getAttribute(name) !== value) here.setAttribute(name, value);
  }
  morphChildren(here, fresh);
}

function remember() {
  for (const region of document.querySelectorAll("[data-live]")) shown.set(region.id, region.innerHTML);
}

async function look() {
  const live = document.getElementById("live");
  try {
    const answer = await fetch(document.body.dataset.pulse, { credentials: "same-origin", cache: "no-store" });
    if (answer.status === 401 || answer.status === 403) {
      location.reload(); // the session has ended: the server leads to the sign-in, and from there back to this page
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    const now = (await answer.json()).pulse;
    if (now !== pulse || isBehind) {
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
