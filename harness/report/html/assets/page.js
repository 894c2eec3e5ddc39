// Draws the lanes, the latencies and the requests of a drill, all on one time axis (seconds from the fault).
// uPlot has the scales, axes, cursor and selection; the lanes are SVG laid over one of its plots.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const US = 1e6, ROW = 22, HEAD = 24, TOP = 18, NEAR = 7;
  const seconds = (us) => `${us < 0 ? "−" : "+"}${(Math.abs(us) / US).toFixed(4)} s`;
  const narrow = () => document.body.clientWidth < 820;
  const gutter = () => (narrow() ? 44 : 188);
  const text = (number) => data.texts[number] || "";

  // -- what is shown: from, to (s) ----------------------------------------------------------------

  const whole = data.span.map((us) => us / US);
  let view = data.views[0].slice(1).map((us) => us / US);
  const plots = [];
  let pinnedAt = null;

  function show(from, to) {
    const least = 2e-5, most = whole[1] - whole[0] + 0.1;
    let width = Math.min(Math.max(to - from, least), Math.max(most, least));
    let begin = Math.max(from, whole[0] - 0.05);
    begin = Math.min(begin, whole[1] + 0.05 - width);
    view = [begin, begin + width];
    for (const plot of plots) plot.setScale("x", { min: view[0], max: view[1] });
    for (const button of find("views").children) {
      const [, a, b] = data.views[button.dataset.number];
      button.setAttribute("aria-pressed", Math.abs(a / US - view[0]) + Math.abs(b / US - view[1]) < 1e-3);
    }
    document.documentElement.dataset.view = view.map((s) => s.toFixed(6)).join(" ");
  }
  const zoom = (by) => { const m = (view[0] + view[1]) / 2, h = (view[1] - view[0]) / 2 / by; show(m - h, m + h); };
  const move = (by) => { const d = (view[1] - view[0]) * by; show(view[0] + d, view[1] + d); };
  const actions = { in: () => zoom(2), out: () => zoom(0.5), left: () => move(-0.3), right: () => move(0.3) };

  // -- rows ------------------------------------------------------------------------------------------

  const rows = [];
  let height = TOP;
  function layOut() {
    rows.length = 0;
    height = TOP;
    const tall = narrow() ? ROW + 15 : ROW;
    for (const group of data.groups) {
      rows.push({ group: group.name, top: height, height: HEAD });
      height += HEAD;
      for (const lane of group.lanes) {
        rows.push({ lane, top: height, height: tall, bar: narrow() ? 15 : 0 });
        height += tall;
      }
    }
    height += 6;
  }

  // -- lanes -----------------------------------------------------------------------------------------

  const esc = (s) => s.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

  function bands(x, w, h) {
    let out = "", taken = 0;
    const name = (words, at, room) => {
      const begin = Math.max(at + 5, 4, taken);
      if (room - begin < words.length * 6.8) return;
      out += `<text class="fault-name" x="${begin}" y="9">${esc(words)}</text>`;
      taken = begin + words.length * 6.8 + 10;
    };
    for (const [from, heal, to, fault] of data.bands) {
      const a = x(from), b = x(heal), c = x(to);
      if (c < 0 || a > w) continue;
      out += `<rect class="band" x="${a}" y="0" width="${Math.max(b - a, 1)}" height="${h}"/>`;
      out += `<rect class="band healing" x="${b}" y="0" width="${Math.max(c - b, 0)}" height="${h}"/>`;
      out += `<path class="edge" d="M${a} 0V${h}"/><path class="edge heal" d="M${b} 0V${h}"/>`;
      const healed = heal < data.span[1];
      name(fault, a, healed && b < w - 60 ? Math.max(b, taken + fault.length * 7) : w);
      if (healed && b > 0) name("healing", b, w);
    }
    return out;
  }

  function laneMarks(row, x, w) {
    const { lane } = row, y = row.top + row.bar + 3, h = ROW - 6, mid = y + h / 2;
    let out = "", labels = "";
    for (const [from, to, kind, label] of lane.stretches) {
      const a = Math.max(x(from), -2), b = Math.min(x(to), w + 2);
      if (b < 0 || a > w) continue;
      const wide = Math.max(b - a, 1.5), words = text(label);
      out += `<rect class="stretch ${kind}" x="${a.toFixed(2)}" y="${y}" width="${wide.toFixed(2)}" height="${h}" rx="2"/>`;
      if (kind === "bad" || kind === "off") out += `<rect fill="url(#hatch)" x="${a.toFixed(2)}" y="${y}" width="${wide.toFixed(2)}" height="${h}"/>`;
      if (Math.min(b, w) - Math.max(a, 0) > words.length * 6.6 + 10)
        labels += `<text class="on ${kind}" x="${(Math.max(a, 0) + 5).toFixed(1)}" y="${mid}">${esc(words)}</text>`;
    }
    const paths = {};
    for (const [t, kind] of lane.moments) {
      const at = x(t);
      if (at < -1 || at > w + 1) continue;
      const [from, to] = !lane.stretches.length ? [2, h - 2] : kind === "bad" || kind === "warn" ? [h / 2, h + 1] : [h - 6, h];
      paths[kind] = (paths[kind] || "") + `M${at.toFixed(1)} ${y + from}V${y + to}`;
    }
    for (const kind in paths)
      out += `<path class="moments ${kind}" style="${!lane.stretches.length && kind[0] === "n" ? `stroke:var(--${kind})` : ""}" d="${paths[kind]}"/>`;
    for (const [from, to, kept] of lane.promises) {
      const a = x(from), b = x(to);
      if (b < 0 || a > w) continue;
      out += `<path class="promise${kept ? "" : " missed"}" d="M${a.toFixed(1)} ${y + h - 5}V${y + h + 1}H${b.toFixed(1)}V${y - 2}"/>`;
    }
    return out + labels;
  }

  function drawLanes(plot) {
    const w = plot.over.clientWidth, h = plot.over.clientHeight;
    if (!(plot.scales.x.max > plot.scales.x.min)) return;
    plot.names.style.top = `${plot.over.offsetTop}px`;
    const x = (us) => plot.valToPos(us / US, "x");
    let out = `<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M0 0V6" stroke="${colour("--ink")}" stroke-opacity=".28" stroke-width="2"/></pattern></defs>`;
    for (const row of rows) if (row.lane) out += `<rect class="row" x="0" y="${row.top + row.bar + 1}" width="${w}" height="${ROW - 2}"/>`;
    out += bands(x, w, h);
    for (const row of rows)
      if (row.lane) out += `<g class="lane" data-name="${esc(row.lane.name)}">${laneMarks(row, x, w)}</g>`;
    if (pinnedAt !== null) out += `<path class="pin" d="M${x(pinnedAt).toFixed(1)} 0V${h}"/>`;
    plot.svg.innerHTML = out;
  }

  function names(plot) {
    plot.names.innerHTML = rows.map((row) => {
      const wide = narrow() || row.group ? document.body.clientWidth - 70 - (row.lane ? gutter() : 0) : gutter() - 10;
      const lead = narrow() && row.lane ? `left:${gutter() + 3}px;line-height:15px;font-size:12px;` : "";
      const label = row.group || row.lane.name, down = row.group ? 4 : 0;
      return `<div class="${row.group ? "group" : ""}" style="top:${row.top + down}px;width:${wide}px;${lead}" title="${esc(label)}">${esc(label)}</div>`;
    }).join("");
  }

  // -- what is under the pointer ---------------------------------------------------------------------

  function under(plot, px, py) {
    const row = rows.find((r) => r.lane && py >= r.top && py < r.top + r.height);
    const us = plot.posToVal(px, "x") * US, reach = ((view[1] - view[0]) * US * NEAR) / plot.over.clientWidth;
    if (!row) return null;
    let best = null, near = reach;
    for (const moment of row.lane.moments) {
      const away = Math.abs(moment[0] - us);
      if (away <= near) { near = away; best = moment; }
    }
    if (best) return { at: best[0], lane: row.lane.name, what: text(best[2]), packet: best[3] };
    for (const [from, to, kept, words] of row.lane.promises)
      if (Math.abs(to - us) < reach / 2) return { at: to, lane: row.lane.name, what: `${text(words)}${kept ? "" : ": not kept"}`, packet: "" };
    for (const [from, to, , label, detail, packet] of row.lane.stretches)
      if (from <= us && us < to)
        return { at: from, until: to, lane: row.lane.name, what: [text(label), text(detail)].filter(Boolean).join(": "), packet };
    return null;
  }

  function told(item) {
    const until = item.until === undefined ? "" : ` to ${seconds(item.until)} (${((item.until - item.at) / US).toFixed(4)} s)`;
    const place = item.packet ? ` · packet ${item.packet.split("/")[1]} of ${item.packet.split("/")[0]}` : "";
    return `<b>${esc(item.lane)}</b>${seconds(item.at)}${until}${place}<br>${esc(item.what)}`;
  }

  const tip = find("tip"), pinned = find("pinned");
  function point(event, item) {
    tip.hidden = !item;
    if (!item) return;
    tip.innerHTML = told(item);
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const above = event.clientY + 18 + tip.offsetHeight > innerHeight;
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${above ? event.clientY - tip.offsetHeight - 12 : event.clientY + 18}px`;
  }

  function pin(item) {
    let links = "";
    if (item.packet) {
      const [capture, number] = item.packet.split("/"), file = `captures/${capture}.pcapng`;
      links = `<br><a href="${esc(encodeURI(file))}">${esc(file)}</a>, packet ${number}: <code>wireshark -g ${number} ${esc(file)}</code>`;
      history.replaceState(null, "", `#packet=${item.packet}`);
    }
    pinned.lastElementChild.innerHTML = told(item).replace("<b>", "<b>").replace("</b>", "</b> · ") + links;
    pinned.hidden = false;
    pinnedAt = item.at;
    if (plots[0]) drawLanes(plots[0]);
    for (const row of document.querySelectorAll(".story tr")) row.classList.toggle("now", !!item.packet && row.dataset.packet === item.packet);
  }
  pinned.firstElementChild.onclick = () => { pinned.hidden = true; pinnedAt = null; drawLanes(plots[0]); };

  function followHash() {
    const [kind, value] = decodeURIComponent(location.hash.slice(1)).split("=");
    let found = null;
    for (const { lanes } of data.groups) for (const lane of lanes) {
      if (kind === "packet")
        for (const m of lane.moments) if (m[3] === value) found = found || { at: m[0], lane: lane.name, what: text(m[2]), packet: m[3] };
    }
    if (kind === "packet" && !found)
      for (const s of data.streams) for (const a of attempts(s)) if (a.packet === value) found = found || said(s, a);
    if (kind === "t") found = { at: Number(value) };
    if (!found || !Number.isFinite(found.at)) return;
    const half = Math.min((view[1] - view[0]) / 2, 0.25), middle = found.at / US;
    if (middle < view[0] || middle > view[1] || view[1] - view[0] > 1) show(middle - half, middle + half);
    if (found.lane) pin(found);
    find("lanes-section").scrollIntoView({ block: "start" });
  }

  // -- attempts --------------------------------------------------------------------------------------

  const cache = new Map();
  function attempts(stream) {
    if (!cache.has(stream)) {
      let due = 0;
      cache.set(stream, stream.due.map((step, i) => ({
        at: (due += step), took: stream.took[i], result: text(stream.result[i]), member: text(stream.member[i]),
        packet: stream.packet[i] ? `${stream.capture}/${stream.packet[i]}` : "",
      })));
    }
    return cache.get(stream);
  }
  function said(stream, a) {
    const by = a.member ? ` by ${a.member}` : "";
    return { at: a.at, lane: stream.name, packet: a.packet, what: `${a.result === "ok" ? "answered" : `lost: ${a.result}`}${by} after ${(a.took / 1000).toFixed(2)} ms` };
  }

  const shades = ["--n0", "--n1", "--n2", "--n3", "--n4"];
  function latencyData() {
    const all = data.streams.map(attempts), times = [...new Set(all.flat().map((a) => a.at))].sort((a, b) => a - b);
    const place = new Map(times.map((t, i) => [t, i]));
    const columns = all.map(() => new Array(times.length).fill(null)), lost = new Array(times.length).fill(null);
    all.forEach((made, s) => made.forEach((a) => {
      const ms = Math.max(a.took / 1000, 0.05);
      (a.result === "ok" ? columns[s] : lost)[place.get(a.at)] = ms;
    }));
    return [times.map((t) => t / US), ...columns, lost];
  }

  function nearest(plot, px, py) {
    let best = null, near = 14 * 14;
    const us = plot.posToVal(px, "x") * US, reach = ((view[1] - view[0]) * US * 14) / plot.over.clientWidth;
    for (const stream of data.streams) for (const a of attempts(stream)) {
      if (Math.abs(a.at - us) > reach) continue;
      const dx = plot.valToPos(a.at / US, "x") - px, dy = plot.valToPos(Math.max(a.took / 1000, 0.05), "y") - py;
      if (dx * dx + dy * dy < near) { near = dx * dx + dy * dy; best = said(stream, a); }
    }
    return best;
  }

  // -- requests in bins, as wide as the view asks for ------------------------------------------------

  // A bin is so many periods of the slowest client, or its turns would look like losses.
  const period = Math.max(0.001, ...data.streams.filter((s) => !s.long && s.due.length > 2).map((s) => {
    const steps = s.due.slice(1).sort((a, b) => a - b);
    return Math.round(steps[steps.length >> 1] / 100) / 10000;
  }));
  function bins() {
    const wish = (view[1] - view[0]) / (document.body.clientWidth / 9), turns = Math.max(Math.ceil(wish / period), 1);
    const width = turns * period, ms = Number((width * 1000).toPrecision(3));
    const first = Math.floor(view[0] / width), count = Math.min(Math.ceil((view[1] - view[0]) / width) + 2, 2000);
    const x = [], good = new Array(count).fill(0), sum = new Array(count).fill(0);
    for (let i = 0; i < count; i++) x.push((first + i + 0.5) * width);
    for (const stream of data.streams) if (!stream.long) for (const a of attempts(stream)) {
      const at = Math.floor(a.at / US / width) - first;
      if (at < 0 || at >= count) continue;
      const weight = a.result === "ok" ? stream.step : 1;
      sum[at] += weight;
      if (a.result === "ok") good[at] += weight;
    }
    find("bin").textContent = `answered and lost in every ${ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`}, by when they were due`;
    return { width, values: [x, sum, good] };
  }

  // -- plots -----------------------------------------------------------------------------------------

  const axis = (more) => ({ stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { stroke: () => colour("--line") }, font: "12px system-ui, sans-serif", ...more });
  const selected = (plot) => {
    const { left, width } = plot.select;
    if (width > 3) show(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  };
  const xValues = (_, splits) => {
    const step = splits.length > 1 ? splits[1] - splits[0] : 1;
    let places = 0;
    while (places < 6 && Math.abs(step * 10 ** places - Math.round(step * 10 ** places)) > 1e-3) places++;
    return splits.map((v) => `${v > 0 ? "+" : v < 0 ? "−" : ""}${Math.abs(v).toFixed(places)}`);
  };
  function options(high, y, series, more) {
    return {
      width: find("lanes").clientWidth, height: high, padding: [10, 10, 0, 0], legend: { show: false }, series,
      scales: { x: { time: false, auto: false, range: () => view }, ...y },
      axes: [axis({ values: xValues, size: 30, space: narrow() ? 50 : 70 }), axis({ size: gutter(), ...more })],
      cursor: { sync: { key: "time", scales: ["x", null] }, drag: { x: true, y: false, setScale: false }, points: { show: false }, y: false, bind: { dblclick: () => () => show(...whole) } },
      hooks: { setSelect: [selected], drawClear: [shade] },
    };
  }
  function shade(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath(); ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height); ctx.clip();
    if (plot.svg === undefined) for (const [from, heal, to] of data.bands) {
      const [a, b, c] = [from, heal, to].map((us) => plot.valToPos(us / US, "x", true));
      ctx.fillStyle = colour("--fault-fill"); ctx.fillRect(a, bbox.top, c - a, bbox.height);
      ctx.fillStyle = colour("--fault"); ctx.fillRect(a, bbox.top, 1.5, bbox.height); ctx.globalAlpha = 0.5; ctx.fillRect(b, bbox.top, 1.5, bbox.height); ctx.globalAlpha = 1;
    }
    ctx.restore();
  }
  function watch(plot, seek) {
    plot.over.addEventListener("pointermove", (event) => point(event, seek(plot, event.offsetX, event.offsetY)));
    plot.over.addEventListener("pointerleave", () => { tip.hidden = true; });
    plot.over.addEventListener("click", (event) => { const item = seek(plot, event.offsetX, event.offsetY); if (item) pin(item); });
    plot.over.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey) return;
      event.preventDefault();
      const at = plot.posToVal(event.offsetX, "x"), by = (event.deltaY || event.deltaX) < 0 ? 0.8 : 1.25;
      show(at - (at - view[0]) * by, at + (view[1] - at) * by);
    }, { passive: false });
    plot.over.style.touchAction = "pan-y";
  }

  function makeLanes() {
    layOut();
    const made = options(height + 66, { y: { range: [0, 1] } }, [{}, { show: false }], { show: false });
    made.padding = [6, 10, 0, gutter()];
    made.axes.push(axis({ side: 0, scale: "x", values: xValues, size: 30, space: narrow() ? 50 : 70, grid: { show: false } }));
    made.hooks.draw = [(plot) => { if (plot.svg) drawLanes(plot); }];
    const plot = new uPlot(made, [whole, [0, 0]], find("lanes"));
    plot.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    plot.svg.setAttribute("role", "img");
    plot.svg.setAttribute("aria-label", "Swim lanes; the tables below tell the same in words");
    plot.over.prepend(plot.svg);
    plot.names = document.createElement("div");
    plot.names.className = "names";
    plot.root.classList.add("lanes");
    plot.root.append(plot.names);
    watch(plot, under);
    names(plot);
    return plot;
  }
  function makeLatency() {
    const dots = (shade, size) => ({ paths: () => null, points: { show: true, size, width: 0, fill: () => colour(shade), stroke: () => colour(shade) } });
    const series = [{}, ...data.streams.map((s, i) => dots(shades[i % 5], s.long ? 6 : 4)), dots("--bad", 6)];
    const values = (_, splits) => splits.map((v) => (Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-9 ? `${v}` : ""));
    const made = options(190, { y: { distr: 3, range: (_, low, high) => [10 ** Math.floor(Math.log10(low || 0.1)), 10 ** Math.ceil(Math.log10((high || 1) * 1.05))] } }, series, { values });
    const plot = new uPlot(made, latencyData(), find("latency"));
    watch(plot, nearest);
    return plot;
  }
  function makeRequests() {
    const bars = (fill, stroke) => ({ paths: uPlot.paths.bars({ size: [0.9, 40] }), fill: () => colour(fill), stroke: () => colour(stroke), width: 0, points: { show: false } });
    const made = options(140, { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] } }, [{}, bars("--bad-fill", "--bad"), bars("--good-fill", "--good")], {});
    const plot = new uPlot(made, bins().values, find("requests"));
    plot.refill = () => plot.setData(bins().values, false);
    watch(plot, (p, px) => {
      const { width, values } = bins(), at = Math.floor(p.posToVal(px, "x") / width) - Math.floor(view[0] / width);
      if (!(values[1][at] > 0)) return null;
      const from = (values[0][at] - width / 2) * US;
      return { at: from, until: from + width * US, lane: "requests", what: `${values[2][at]} answered, ${values[1][at] - values[2][at]} lost`, packet: "" };
    });
    return plot;
  }

  function legend() {
    const kinds = new Map();
    for (const { lanes } of data.groups) for (const lane of lanes) for (const s of lane.stretches) if (/^n\d$/.test(s[2]) && text(s[3]) !== "active") kinds.set(s[2], text(s[3]));
    const owners = [...kinds];
    const items = owners.sort().map(([kind, name]) => `<li><i class="${kind}"></i>${esc(name)}</li>`);
    items.push('<li><i class="good"></i>well</li>', '<li><i class="bad-fill"></i>ill, lost</li>', '<li><i class="idle"></i>at rest</li>', '<li><i class="off"></i>dead</li>');
    items.push('<li><i class="promise-sign"></i>promised window, until its right end</li>', '<li><i class="fault-sign"></i>fault, then healing</li>');
    find("legend").innerHTML = items.join("");
    const dot = (shade, name) => `<li><i style="background:var(${shade});width:9px;border-radius:5px;height:9px"></i>${esc(name)}</li>`;
    find("streams").innerHTML = [...data.streams.map((s, i) => dot(shades[i % 5], s.name)), dot("--bad", "lost, after so long")].join("");
  }

  function build() {
    for (const plot of plots) plot.destroy();
    plots.length = 0;
    plots.push(makeLanes(), makeLatency(), makeRequests());
    plots[2].hooks.setScale = [(_, key) => { if (key === "x" && !plots[2].filling) { plots[2].filling = true; plots[2].refill(); plots[2].filling = false; } }];
    show(...view);
  }

  data.views.forEach(([name, from, to], number) => {
    const button = document.createElement("button");
    button.textContent = name;
    button.dataset.number = number;
    button.onclick = () => show(from / US, to / US);
    find("views").append(button);
  });
  for (const button of document.querySelectorAll("[data-do]")) button.onclick = actions[button.dataset.do];
  find("lanes").addEventListener("keydown", (event) => {
    const act = { ArrowLeft: actions.left, ArrowRight: actions.right, "+": actions.in, "-": actions.out, 0: () => show(...whole) }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  let size = document.body.clientWidth;
  addEventListener("resize", () => { if (document.body.clientWidth !== size) { size = document.body.clientWidth; build(); } });
  addEventListener("hashchange", followHash);
  const redraw = () => plots.forEach((plot) => plot.redraw(false));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  // On paper: light, as wide as an A4 page, and all lanes on one.
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.theme = "light";
    const shrunk = Math.min(1, 830 / (height + 66));
    find("lanes").style.zoom = shrunk;
    for (const p of plots) p.setSize({ width: Math.floor(p.svg ? 700 / shrunk : 700), height: p.height });
  });
  addEventListener("afterprint", () => { delete document.documentElement.dataset.theme; find("lanes").style.zoom = ""; build(); });
  legend();
  build();
  if (location.hash) followHash();
  document.documentElement.dataset.drawn = "yes";
})();
