// The page is whole without this script. It keeps the page current, opens a state's sockets in place and draws charts.
// Markup comes from this server alone, which escapes all that others chose; inline scripts and styles cannot run here.

const byId = (name) => document.getElementById(name);

function parsed(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  localize(page);
  return page;
}

// Make `old` like `fresh` with as few changes as there are, so that focus, selection and open details stay.
function become(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.localName === "details")) old.removeAttribute(name);
  }
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = child.id ? known.get(child.id) : alike(at, child) ? at : null;
    if (same && same.nodeName === child.nodeName) {
      if (same === at) at = at.nextSibling;
      else old.insertBefore(same, at);
      if (child.nodeType === Node.ELEMENT_NODE) become(same, child);
      else if (same.data !== child.data) same.data = child.data;
    } else {
      old.insertBefore(document.adoptNode(child), at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function alike(old, fresh) {
  return old && old.nodeName === fresh.nodeName && !old.id;
}

// The reader's own time zone; the server says UTC.
function localize(root) {
  for (const time of root.querySelectorAll("time")) {
    const when = new Date(time.dateTime);
    const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
    const date = { year: "numeric", month: "2-digit", day: "2-digit" };
    const today = when.toDateString() === new Date().toDateString();
    time.textContent = when.toLocaleString("sv-SE", today && !time.dataset.date ? clock : { ...date, ...clock });
    time.title = time.dateTime;
  }
}

// ---- how old it is

// As the page came; without any news it grows old all the same.
const born = byId("freshness")?.dataset;
const age = {
  looked: born ? performance.now() - Number(born.age) * 1000 : null,
  staleAfter: born ? Number(born.staleAfter) : 30,
};
let title = document.title;

// News can wait in buffers for long. How far this clock is ahead of the server's is what the quickest news say; it may
// rise by a thousandth of the time, because no two clocks run alike.
const lead = { milliseconds: Infinity, at: 0 };

function lookedAt(news) {
  const now = performance.now();
  lead.milliseconds = Math.min(lead.milliseconds + (now - lead.at) / 1000, now - news.sent * 1000);
  lead.at = now;
  return (news.sent - news.age) * 1000 + lead.milliseconds;
}

function duration(seconds) {
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
}

function tick() {
  const silent = (performance.now() - listened) / 1000;
  const seconds = age.looked === null ? silent : Math.max((performance.now() - age.looked) / 1000, 0);
  // A stream whose other end vanished without a word stays open for ever: after a sleep, or behind a firewall.
  if (seconds > age.staleAfter && silent > RETRY_SECONDS) listen();
  if (age.looked === null) return;
  const text = `, ${duration(seconds)} ago`;
  if (byId("age") && byId("age").textContent !== text) byId("age").textContent = text;
  const stale = byId("stale");
  if (!stale) return;
  if (stale.hidden !== seconds <= age.staleAfter) stale.hidden = seconds <= age.staleAfter;
  const name = stale.hidden ? title : `Not current · ${byId("host").textContent} · sockwatch`;
  if (document.title !== name) document.title = name;
  if (!stale.hidden) byId("stale-age").textContent = duration(seconds);
}

// ---- news

let found = null;
let waitingForFirst = !byId("verdict") && !byId("sockets");

function show(news) {
  if (waitingForFirst) return location.reload();
  age.looked = lookedAt(news);
  age.staleAfter = news.stale_after;
  if (byId("verdict")) title = news.title;
  byId("looked").dateTime = new Date(news.time * 1000).toISOString();
  localize(byId("looked").parentElement);
  for (const [name, html] of Object.entries(news.parts)) {
    const old = byId(name);
    const fresh = old && parsed(html).body.firstElementChild;
    if (fresh) become(old, fresh);
  }
  tick();
  refresh();
  const now = `${news.status} ${news.findings}`;
  if (found !== null && found !== now) setTimeout(chart, 1000); // by then the history has it
  found = now;
}

const RETRY_SECONDS = 15;
let stream = null;
let listened = 0;

function listen() {
  stream?.close();
  listened = performance.now();
  const events = new EventSource("/api/v1/events");
  stream = events;
  events.addEventListener("open", () => {
    lead.milliseconds = Infinity; // another daemon, or another boot, has another clock
  });
  events.addEventListener("poll", (event) => show(JSON.parse(event.data)));
  // The browser connects again by itself, unless it was refused.
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(() => stream === events && listen(), 5000);
  });
}

// ---- the sockets of a state

const alone = location.pathname === "/sockets";
let opened = alone ? location.pathname + location.search : null;
let asking = 0;

async function load(address) {
  const mine = ++asking;
  const answer = await fetch(address);
  const page = parsed(await answer.text());
  if (mine !== asking || opened !== address) return false;
  const panel = byId("sockets");
  const fresh = page.getElementById("sockets");
  if (!fresh) return false;
  become(panel, fresh);
  panel.hidden = false;
  return true;
}

let opening = 0; // how many are; a refresh meanwhile would take the focus away from what was chosen
async function open(address) {
  opened = address;
  opening += 1;
  try {
    if (await load(address)) {
      byId("sockets").scrollIntoView({ block: "nearest" });
      byId("sockets").focus({ preventScroll: true });
    }
  } finally {
    opening -= 1;
  }
}

function close() {
  opened = null;
  byId("sockets").hidden = true;
}

let refreshing = false;
async function refresh() {
  if (opened === null || refreshing || opening) return;
  refreshing = true;
  try {
    await load(opened);
  } catch {
    // The server is away: the age of the page says so.
  } finally {
    refreshing = false;
  }
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || alone || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const address = link.getAttribute("href") ?? "";
  if (address.startsWith("/sockets?")) {
    event.preventDefault();
    history.pushState({}, "", `#${address}`);
    open(address).catch(() => location.assign(address));
  } else if (link.classList.contains("close")) {
    event.preventDefault();
    leave();
  }
});

function leave() {
  const from = new URLSearchParams((opened ?? "").split("?")[1]).get("state");
  history.pushState({}, "", location.pathname + location.search);
  close();
  byId(`state-${from}`)?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !alone && opened !== null && !event.defaultPrevented) leave();
});

// Which sockets are open stands behind the "#" of the address, so that it can be kept, sent and loaded again.
function follow() {
  if (alone) return;
  if (location.hash.startsWith("#/sockets?")) open(location.hash.slice(1)).catch(() => {});
  else if (opened !== null) close();
}

addEventListener("popstate", follow);

// ---- the last hours

const COLOURS = {
  established: ["#3b7a57", "#7fc79b"], syn_sent: ["#b07d12", "#e6b450"], syn_recv: ["#8a6d3b", "#c9a86a"],
  fin_wait_1: ["#7b5ea7", "#b79be0"], fin_wait_2: ["#5b4a91", "#9d8be0"], time_wait: ["#4a7fa7", "#82b8e0"],
  close: ["#777", "#aaa"], close_wait: ["#b3261e", "#ff8f85"], last_ack: ["#a8467a", "#e58cbb"],
  listen: ["#2c5c86", "#6aa2d4"], closing: ["#94531b", "#e0955a"], bound: ["#555", "#bbb"],
};
const OTHERS = [
  ["#b3261e", "#ff8f85"], ["#8a5700", "#f0c062"], ["#2c5c86", "#82b8e0"], ["#5b4a91", "#bcaef0"],
  ["#1e6b3e", "#86d3a0"], ["#a8467a", "#e58cbb"], ["#4a7fa7", "#93c4ef"], ["#777", "#aaa"],
];
const dark = matchMedia("(prefers-color-scheme: dark)");
const charts = new Map();
let span = 7200; // up to two hours the history has every look, beyond that steps of five minutes

function moment(seconds, date) {
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return new Date(seconds * 1000).toLocaleString("sv-SE", date ? { month: "2-digit", day: "2-digit", ...clock } : clock);
}

function draw(name, answer, most) {
  const lines = answer.series.filter((one) => one.high.some((value) => value));
  const peak = (one) => Math.max(...one.high.map((value) => value ?? 0));
  const chosen = lines.sort((a, b) => peak(b) - peak(a)).slice(0, most);
  const box = byId(`chart-${name}`);
  charts.get(name)?.plot.destroy();
  charts.delete(name);
  byId(`chart-${name}-title`).hidden = !chosen.length;
  if (!chosen.length) return false;
  const style = getComputedStyle(document.documentElement);
  const soft = style.getPropertyValue("--soft").trim();
  const line = style.getPropertyValue("--line").trim();
  const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  const several = new Set(chosen.map((one) => one.netns)).size > 1;
  const colour = (one, i) => (COLOURS[one.name] ?? OTHERS[i % OTHERS.length])[dark.matches ? 1 : 0];
  const options = {
    width: Math.max(box.clientWidth - 18, 200),
    height: 190,
    cursor: { y: false },
    scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.08, 1)] } },
    axes: [{ ...axis, space: 76, values: (_, times) => times.map((time) => moment(time, span > 172800)) }, { ...axis, size: 58 }],
    series: [{ label: "at", value: (_, time) => (time === null ? "" : moment(time, true)) }, ...chosen.map((one, i) => ({
      label: several && one.netns ? `${one.name} (${one.netns})` : one.name,
      stroke: colour(one, i),
      width: 1.6,
      value: (_, value) => (value === null ? "" : String(Math.round(value))),
      points: { show: false },
    }))],
  };
  charts.set(name, { plot: new uPlot(options, [answer.times, ...chosen.map((one) => one.mean)], box), name, answer, most });
  return true;
}

function past(findings, blind) {
  const items = findings.slice(0, 20).map((one) => {
    const item = document.createElement("li");
    item.className = one.worst;
    const severity = Object.assign(document.createElement("span"), { className: "severity", textContent: one.worst });
    const when = document.createElement("span");
    for (const [i, time] of [one.opened, one.closed].entries()) {
      if (i) when.append(time === null && blind ? ", last seen " : " to ");
      if (time === null && !blind) when.append("now");
      else when.append(Object.assign(document.createElement("time"), { dateTime: new Date((time ?? one.seen) * 1000).toISOString() }));
    }
    item.append(severity, " ", when, " ", Object.assign(document.createElement("code"), { textContent: one.name }), ` ${one.summary}`);
    localize(item);
    return item;
  });
  byId("past-findings").replaceChildren(...items);
}

async function chart() {
  if (!byId("chart-state")) return;
  const said = byId("timeline-said");
  const ask = async (kind) => {
    const query = new URLSearchParams({ kind, since: String(-span), points: "300" });
    const answer = await fetch(`/api/v1/history?${query}`);
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.error);
    return body;
  };
  try {
    const [states, found] = await Promise.all([ask("state"), ask("finding")]);
    const drawn = [draw("state", states, 8), draw("finding", found, 8)];
    past(found.findings, found.gaps.some((gap) => gap.ended === null));
    const known = [states, found].some(({ series }) => series.some((one) => one.high.some((value) => value !== null)));
    const nothing = known ? "No sockets and no findings in this time." : "Nothing is known of this time yet.";
    said.textContent = drawn.some(Boolean) ? "" : nothing;
  } catch (error) {
    said.textContent = `No charts: ${error.message}`;
  }
  said.hidden = !said.textContent;
}

function redraw() {
  for (const { name, answer, most } of [...charts.values()]) draw(name, answer, most);
}

for (const button of document.querySelectorAll(".spans button")) {
  button.parentElement.hidden = false;
  button.addEventListener("click", () => {
    span = Number(button.dataset.span);
    for (const other of document.querySelectorAll(".spans button")) other.ariaPressed = String(other === button);
    chart();
  });
}

dark.addEventListener("change", redraw);
let resized = 0;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(redraw, 200);
});

localize(document);
listen();
tick();
setInterval(tick, 1000);
chart();
setInterval(chart, 60000);
follow();
