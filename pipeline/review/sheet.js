// The review sheet. Everything from the catalog is set as text or as an attribute, never as markup.
"use strict";

const whitesweep = (() => {
  const CARDS = 50; // on a page
  const SVG = "http://www.w3.org/2000/svg";
  const NOTED = ["good", "redo"];
  const FILTERS = ["search", "category", "status", "flag", "decision"];
  const HEAT = ["0 0 .35 .85 1 1", "0 .15 .1 .3 .75 1", ".05 .45 .55 .2 .1 .8"]; // red, green, blue of a map's levels

  let sheet = null; // what index.js says
  let shown = []; // places of the rows that pass the filters
  let page = 0;
  let onWhite = false;
  let marks = new Map(); // by id, what is decided here: {decision, parameters, note}; null takes a decision back
  let decided = new Map(); // by id, the decisions in force
  const pages = new Map(); // details by number of page: an array, or the functions that wait for it
  const thresholds = new Map(); // by place, where the slider stands

  const $ = (id) => document.getElementById(id);

  function make(name, properties = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (key === "class") element.className = value;
      else if (value === true) element.setAttribute(key, "");
      else if (value !== false && value != null) element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child != null));
    return element;
  }

  function draw(name, attributes = {}, ...children) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  const count = (number) => number.toLocaleString("en");
  const percent = (share, digits = 1) => (share == null ? "–" : `${(100 * share).toFixed(digits)} %`);
  const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;
  const named = (category) => category || "(none)";

  // --- The run in figures

  function index(said) {
    sheet = said;
    decided = new Map(sheet.decisions.map(([id, ...rest]) => [id, decisionOf(rest)]));
    loadMarks();
    showRun();
    fillFilters();
    readHash();
    filter();
  }

  function decisionOf([decision, parameters, note]) {
    return { decision, parameters, note };
  }

  function showRun() {
    const { run, figures } = sheet;
    document.title = `Review of ${sheet.folder}`;
    document.querySelector("h1").textContent = `Review of ${sheet.folder}`;
    const about = [`${run.command || "run"} ${run.id}`, run.started, plural(figures.rows, "row", "rows")];
    if (run.gone) about.push(`${count(run.gone)} gone from the manifest`);
    $("about").textContent = about.filter(Boolean).join(" · ");
    if (run.reason) {
      $("problem").textContent = run.reason;
      $("problem").hidden = false;
    }
    $("figures").append(
      tile("Status", [...Object.entries(figures.statuses)].map(([name, n]) => [name, n, { status: `status:${name}` }]), [
        ["pictures changed", figures.changed, { status: "changed" }],
      ]),
      tile("Failures", Object.entries(figures.codes).map(([name, n]) => [name, n, { status: `code:${name}` }])),
      tile("Flags", Object.entries(figures.flags).map(([name, n]) => [name, n, { flag: name }])),
      tile("Decisions", Object.entries(figures.decisions).map(([name, n]) => [name, n, { decision: name }])),
      distribution("Quality of masks", "quality"),
      distribution("Foreground", "foreground"),
    );
    showCategories();
    showSettings(run.settings);
  }

  function tile(title, entries, more = []) {
    const list = make("ul");
    for (const [name, number, filters] of [...entries, ...more]) {
      const button = make("button", { type: "button", onclick: () => setFilters(filters) }, name);
      list.append(make("li", {}, button, make("span", { class: "number" }, count(number))));
    }
    return make("div", { class: "tile" }, make("h3", {}, title), entries.length + more.length ? list : make("p", { class: "soft" }, "none"));
  }

  function total(figures, name) {
    const bins = figures.categories.map((group) => group[name]);
    return bins.length ? bins[0].map((_, at) => bins.reduce((sum, own) => sum + own[at], 0)) : [];
  }

  function distribution(title, name) {
    const key = `${name}_bins`;
    const before = sheet.before && total(sheet.before, key);
    const words = before ? "The line is the report before." : "There is no report before to compare with.";
    const bins = total(sheet.figures, key);
    const box = make("div", { class: "tile wide" }, make("h3", {}, title));
    if (!bins.some(Boolean)) {
      box.append(make("p", { class: "soft" }, "no masks"));
      return box;
    }
    box.append(histogram(bins, before, title), make("div", { class: "axis" }, make("span", {}, "0"), make("span", {}, words), make("span", {}, "1")));
    return box;
  }

  function histogram(bins, before, title) {
    const [now, then] = [bins, before || []].map((own) => own.map(Math.sqrt)); // so that a few bad ones are seen
    const most = Math.max(1, ...now, ...then);
    const drawn = draw("svg", { class: "histogram", viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img" });
    drawn.append(draw("title", {}, `${title}: ${bins.map((n, at) => `${(at / bins.length).toFixed(2)}: ${n}`).join(", ")}`));
    const width = 100 / bins.length;
    now.forEach((value, at) => {
      const height = value ? Math.max(1, (40 * value) / most) : 0;
      drawn.append(draw("rect", { x: at * width + width * 0.08, y: 40 - height, width: width * 0.84, height }));
    });
    if (then.some(Boolean)) {
      const steps = then.map((value, at) => `${at ? "L" : "M"}${at * width} ${40 - (40 * value) / most}h${width}`);
      drawn.append(draw("path", { d: steps.join("") }));
    }
    return drawn;
  }

  function showCategories() {
    const MOST = 200;
    const all = sheet.figures.categories;
    const before = new Map((sheet.before ? sheet.before.categories : []).map((group) => [group.name, group]));
    const heads = ["category", "rows", "failed", "doubtful", "quality", "Δ", "foreground", "Δ", "quality 0 to 1", "foreground 0 to 1"];
    const rows = all.slice(0, MOST).map((group) => {
      const old = before.get(group.name);
      const shift = (name, digits) => {
        if (!old || old[name] == null || group[name] == null) return "–";
        const moved = (100 * (group[name] - old[name])).toFixed(digits);
        return Number(moved) === 0 ? "0" : moved > 0 ? `+${moved}` : moved.replace("-", "−");
      };
      const cells = [group.rows, group.failed, group.doubtful].map(count);
      cells.push(percent(group.quality), shift("quality", 1), percent(group.foreground_fraction), shift("foreground_fraction", 1));
      const line = make("tr", {}, make("th", { scope: "row" }, named(group.name)), ...cells.map((text) => make("td", {}, text)));
      line.append(make("td", {}, histogram(group.quality_bins, old && old.quality_bins, `Quality of ${named(group.name)}`)));
      line.append(make("td", {}, histogram(group.foreground_bins, old && old.foreground_bins, `Foreground of ${named(group.name)}`)));
      return line;
    });
    const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
    $("categories").append(make("thead", {}, head), make("tbody", {}, ...rows));
    const words = [plural(all.length, "category", "categories")];
    words.push(sheet.before ? `Δ: points since ${sheet.before.id}` : "no report before to compare with");
    if (all.length > MOST) words.push(`the ${MOST} with most to look at`);
    document.querySelector("#categories-box summary").textContent = `By category (${words.join("; ")})`;
    $("categories-box").open = all.length > 1 && all.length <= 12;
  }

  function showSettings(settings) {
    const flat = (value) => (value && typeof value === "object" ? JSON.stringify(value) : String(value));
    const lines = Object.entries(settings).flatMap(([name, value]) =>
      name === "network" && value ? ["model", "precision", "device"].map((key) => [key, value[key]]) : [[name, value]],
    );
    if (!lines.length) lines.push(["settings", "run.json does not tell"]);
    for (const [name, value] of lines) $("settings").append(make("dt", {}, name), make("dd", {}, flat(value)));
  }

  // --- Filters, and the address that holds them

  function fillFilters() {
    const { figures } = sheet;
    const options = (id, entries) => $(id).append(...entries.map(([value, text]) => make("option", { value }, text)));
    options("category", [["", "all"], ...figures.categories.map((group, at) => [`${at}`, `${named(group.name)} (${count(group.rows)})`])]);
    options("status", [
      ["", "all"],
      ...Object.entries(figures.statuses).map(([name, n]) => [`status:${name}`, `${name} (${count(n)})`]),
      ...Object.entries(figures.codes).map(([name, n]) => [`code:${name}`, `${name} (${count(n)})`]),
      ["changed", `picture changed (${count(figures.changed)})`],
    ]);
    options("flag", [["", "all"], ...Object.entries(figures.flags).map(([name, n]) => [name, `${name} (${count(n)})`]), ["-", "no flag"]]);
    options("decision", [
      ["", "all"],
      ["open", "not yet decided"],
      ["marked", "marked here"],
      ...Object.entries(figures.decisions).map(([name, n]) => [name, `${name} (${count(n)})`]),
    ]);
    for (const id of FILTERS) $(id).addEventListener(id === "search" ? "input" : "change", () => refilter());
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    $("filters").addEventListener("reset", () => setTimeout(refilter));
  }

  function setFilters(values) {
    for (const id of FILTERS) $(id).value = values[id] || "";
    refilter();
    $("rows").scrollIntoView();
    $("rows").focus({ preventScroll: true });
  }

  function refilter() {
    page = 0;
    filter();
  }

  function filter() {
    const { rows, figures } = sheet;
    const wanted = Object.fromEntries(FILTERS.map((id) => [id, $(id).value]));
    const text = wanted.search.trim().toLowerCase();
    const [kind, word] = wanted.status.split(":");
    const status = Object.keys(figures.statuses).indexOf(word);
    const code = Object.keys(figures.codes).indexOf(word) + 1;
    const flag = wanted.flag && wanted.flag !== "-" ? 2 ** Object.keys(figures.flags).indexOf(wanted.flag) : 0;
    const decision = Object.keys(figures.decisions).indexOf(wanted.decision) + 1;
    const category = wanted.category === "" ? -1 : Number(wanted.category);
    shown = [];
    for (let at = 0; at < rows.id.length; at++) {
      if (category >= 0 && rows.category[at] !== category) continue;
      if (kind === "status" && rows.status[at] !== status) continue;
      if (kind === "code" && rows.code[at] !== code) continue;
      if (kind === "changed" && !rows.changed[at]) continue;
      if (wanted.flag === "-" && rows.flags[at]) continue;
      if (flag && !(rows.flags[at] & flag)) continue;
      if (wanted.decision === "open" && current(rows.id[at])) continue;
      if (wanted.decision === "marked" && !marks.has(rows.id[at])) continue;
      if (decision > 0 && rows.decision[at] !== decision) continue;
      if (text && !rows.id[at].toLowerCase().includes(text)) continue;
      shown.push(at);
    }
    page = Math.min(page, Math.max(0, Math.ceil(shown.length / CARDS) - 1));
    writeHash();
    showPage();
  }

  function writeHash() {
    const said = new URLSearchParams();
    for (const id of FILTERS) if ($(id).value) said.set(id, $(id).value);
    if (page) said.set("page", page + 1);
    history.replaceState(null, "", `${location.pathname}${location.search}${`${said}` ? `#${said}` : ""}`);
  }

  function readHash() {
    const said = new URLSearchParams(location.hash.slice(1));
    for (const id of FILTERS) {
      $(id).value = said.get(id) || "";
      if ($(id).selectedIndex === -1) $(id).value = "";
    }
    page = Math.max(0, (Number(said.get("page")) || 1) - 1);
  }

  // --- The list

  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        watcher.unobserve(entry.target);
        entry.target.fill();
      }
    },
    { rootMargin: "800px" },
  );

  function showPage() {
    const { figures, rows } = sheet;
    const places = shown.slice(page * CARDS, (page + 1) * CARDS);
    watcher.disconnect();
    $("list").replaceChildren(...places.map(card));
    if (!places.length) {
      const why = figures.rows === 0 ? "The report has no rows." : rows.id.length === 0 ? "There is no row to look at." : "No photo passes these filters.";
      $("list").append(make("p", { class: "empty" }, why));
    }
    const cut = figures.rows > sheet.most_rows ? `; the sheet has the ${count(sheet.most_rows)} worst of ${count(figures.rows)}` : "";
    $("count").textContent = `${plural(shown.length, "photo", "photos")} of ${count(rows.id.length)}${cut}`;
    const last = Math.max(1, Math.ceil(shown.length / CARDS));
    $("page").textContent = `page ${page + 1} of ${count(last)}`;
    $("previous").disabled = page === 0;
    $("next").disabled = page + 1 >= last;
    showMarked();
  }

  function turn(by) {
    const last = Math.max(0, Math.ceil(shown.length / CARDS) - 1);
    const to = Math.min(last, Math.max(0, page + by));
    if (to === page) return false;
    page = to;
    writeHash();
    showPage();
    $("rows").scrollIntoView();
    return true;
  }

  function card(at) {
    const { rows, figures } = sheet;
    const id = rows.id[at];
    const title = make("h3", { id: `row-${at}` }, id || "(no id)");
    const head = make("div", { class: "head" }, title, make("span", { class: "chip" }, named(figures.categories[rows.category[at]].name)));
    if (rows.quality[at] >= 0) {
      const quality = rows.quality[at] / 10000;
      const look = quality < 0.7 ? "bad" : quality < sheet.doubtful_below ? "fair" : "fine";
      head.append(make("span", { class: `quality ${look}` }, `quality ${quality.toFixed(3)}`));
    }
    const status = Object.keys(figures.statuses)[rows.status[at]];
    const code = ["", ...Object.keys(figures.codes)][rows.code[at]];
    head.append(make("span", { class: code ? "failed" : "soft" }, code ? `${status}: ${code}` : status));
    Object.keys(figures.flags).forEach((flag, bit) => {
      if (rows.flags[at] & (2 ** bit)) head.append(make("span", { class: "chip" }, flag));
    });
    const said = make("span", { class: "decided", role: "status" });
    head.append(said);
    const body = make("div", {});
    const element = make("article", { "aria-labelledby": `row-${at}`, tabindex: "-1" }, head, body);
    element.at = at;
    element.update = () => {
      const now = current(id);
      said.textContent = now ? `${marks.has(id) ? "marked" : "decided"}: ${now.decision} ${now.parameters}`.trim() : "";
      element.classList.toggle("marked", marks.has(id));
      for (const button of element.querySelectorAll("button[data-decision]")) {
        button.setAttribute("aria-pressed", String(Boolean(now) && now.decision === button.dataset.decision));
      }
    };
    element.fill = () => details(at, (row) => {
      body.replaceChildren(...filled(at, row));
      element.update();
    });
    element.update();
    watcher.observe(element);
    return element;
  }

  function details(at, then) {
    const number = Math.floor(at / sheet.page);
    const found = pages.get(number);
    if (Array.isArray(found)) {
      then(found[at % sheet.page]);
      return;
    }
    const waiting = found || { then: [] };
    waiting.then.push(() => then(pages.get(number)[at % sheet.page]));
    if (found) return;
    pages.set(number, waiting);
    const script = document.createElement("script");
    script.src = `${document.body.dataset.folder}/rows-${String(number).padStart(5, "0")}.js`;
    script.onerror = () => {
      pages.delete(number);
      $("problem").textContent = "A newer sheet has been written since: load this page again.";
      $("problem").hidden = false;
    };
    document.head.append(script);
  }

  function rows(number, found) {
    const waiting = pages.get(number);
    pages.set(number, found);
    if (waiting && waiting.then) waiting.then.forEach((then) => then());
  }

  function filled(at, row) {
    const id = sheet.rows.id[at];
    const parts = [];
    if (row.message) parts.push(make("p", { class: "message failed" }, row.message));
    if (row.violations) parts.push(make("p", { class: "message failed" }, row.violations.join("; ")));
    if (!thresholds.has(at)) thresholds.set(at, row.threshold == null ? 0.5 : row.threshold);
    const preview = row.map && row.width ? new Preview(at, row) : null;
    if (row.original || row.picture || preview) {
      parts.push(make("div", { class: "pictures" }, photo(id, row), heat(id, row), written(id, row), preview ? preview.figure : blank("no map")));
    }
    const facts = [];
    if (row.foreground != null) facts.push(`foreground ${percent(row.foreground)}`);
    if (row.fill != null) facts.push(`fill ${percent(row.fill)}`);
    if (row.components != null) facts.push(plural(row.components, "piece", "pieces"), plural(row.holes, "hole", "holes"));
    if (row.edges) facts.push(`touches ${row.edges.join(", ")}`);
    if (row.width) facts.push(`${row.width} × ${row.height} ${row.format || ""}`.trim());
    if (row.rule) facts.push(`${row.rule}: ${row.method}${row.threshold == null ? "" : ` at ${Number(row.threshold.toFixed(3))}`}`);
    if (row.since) facts.push(`failing since ${row.since}`);
    facts.push(row.uri);
    parts.push(make("p", { class: "facts" }, facts.join(" · ")), controls(at, preview));
    return parts;
  }

  function controls(at, preview) {
    const id = sheet.rows.id[at];
    const box = make("div", { class: "controls" });
    if (preview) {
      const output = make("output", {}, thresholds.get(at).toFixed(2));
      const slider = make("input", { type: "range", min: "0.01", max: "1", step: "0.01", value: thresholds.get(at), "aria-label": `Threshold of the preview of ${id}` });
      preview.slide = (value) => {
        thresholds.set(at, value);
        slider.value = value;
        output.textContent = value.toFixed(2);
        preview.update();
      };
      slider.addEventListener("input", () => preview.slide(Number(slider.value)));
      box.append(make("label", {}, "Threshold", slider, output));
      box.preview = preview;
    }
    const choices = [["good", "Good"], ["redo", "Redo"], ["keep", "Keep photo"]];
    if (preview) choices.push(["change", "Take threshold"]);
    choices.push(["white", "White"], ["drop", "Drop"]);
    for (const [decision, text] of choices) {
      const properties = { type: "button", "data-decision": decision, "aria-pressed": "false", "aria-label": `${text}: ${id}` };
      box.append(make("button", { ...properties, disabled: !id, onclick: () => mark(at, decision) }, text));
    }
    box.append(make("button", { type: "button", "aria-label": `Undo: ${id}`, onclick: () => mark(at, null) }, "Undo"));
    return box;
  }

  // --- Pictures

  const blank = (text) => make("figure", {}, make("div", { class: "frame" }, make("p", {}, text)), make("figcaption", {}, " "));

  // Addresses that a picture may have: none of them runs anything.
  const safe = (address) => (/^(https?:\/\/|file:\/\/\/|\.\.\/)/i.test(address || "") ? address : null);

  function picture(address, alt, caption, frame, without) {
    const box = make("div", { class: `frame ${frame}` });
    if (safe(address)) {
      const image = make("img", { src: address, alt, loading: "lazy", decoding: "async" });
      image.addEventListener("error", () => {
        box.className = "frame";
        box.replaceChildren(make("p", {}, without));
      });
      box.append(image);
    } else {
      box.className = "frame";
      box.append(make("p", {}, without));
    }
    return make("figure", {}, box, make("figcaption", {}, caption));
  }

  function photo(id, row) {
    const why = row.original ? "this browser cannot open the photo" : "no browser opens this address";
    return picture(row.original, `photo of ${id}`, "photo", "", `${why}: ${row.uri}`);
  }

  function written(id, row) {
    return picture(row.picture, `picture of ${id}`, "as written", "chequer", row.picture ? "the picture is not there" : "no picture");
  }

  function heat(id, row) {
    if (!row.map) return blank("no map");
    const name = `heat-${++names}`;
    const [width, height] = row.width ? [row.width, row.height] : [320, 320];
    const drawn = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `map of ${id}` });
    const tables = HEAT.map((table, at) => draw(`feFunc${"RGB"[at]}`, { type: "table", tableValues: table }));
    const filter = { id: name, "color-interpolation-filters": "sRGB", x: 0, y: 0, width: 1, height: 1 };
    drawn.append(draw("filter", filter, draw("feComponentTransfer", {}, ...tables)));
    drawn.append(image(row.map, width, height, { filter: `url(#${name})` }));
    return make("figure", {}, make("div", { class: "frame" }, drawn), make("figcaption", {}, "map: how likely it is product"));
  }

  function image(address, width, height, more = {}) {
    return draw("image", { href: safe(address) || "", width, height, preserveAspectRatio: "none", ...more });
  }

  let names = 0;

  class Preview {
    constructor(at, row) {
      this.at = at;
      const name = ++names;
      const { width, height } = row;
      this.tables = ["R", "G", "B"].map((channel) => draw(`feFunc${channel}`, { type: "discrete" }));
      const filter = { id: `cut-${name}`, "color-interpolation-filters": "sRGB", x: 0, y: 0, width: 1, height: 1 };
      const area = { id: `mask-${name}`, maskUnits: "userSpaceOnUse", x: 0, y: 0, width, height };
      const map = image(row.map, width, height, { filter: `url(#cut-${name})` });
      const source = row.original && !["tiff", "heif", "heic"].includes((row.format || "").toLowerCase()) ? row.original : row.picture;
      const drawn = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `preview of ${sheet.rows.id[at]}` });
      drawn.append(
        draw("filter", filter, draw("feComponentTransfer", {}, ...this.tables)),
        draw("mask", area, map),
        image(source, width, height, { mask: `url(#mask-${name})` }),
      );
      this.frame = make("div", { class: "frame preview" }, drawn);
      this.caption = make("figcaption", {});
      this.figure = make("figure", {}, this.frame, this.caption);
      this.update();
    }

    update() {
      const threshold = thresholds.get(this.at);
      const steps = Array.from({ length: 256 }, (_, level) => (level >= threshold * 255 - 1e-9 ? 1 : 0)).join(" ");
      for (const table of this.tables) table.setAttribute("tableValues", steps);
      this.caption.textContent = `preview at ${threshold.toFixed(2)}`;
      this.frame.classList.toggle("white", onWhite);
      this.frame.classList.toggle("chequer", !onWhite);
    }
  }

  function setBackground(white) {
    onWhite = white;
    $("on-white").setAttribute("aria-pressed", String(white));
    $("on-chequer").setAttribute("aria-pressed", String(!white));
    for (const frame of document.querySelectorAll(".frame.preview")) {
      frame.classList.toggle("white", white);
      frame.classList.toggle("chequer", !white);
    }
  }

  // --- Marks and decisions

  const key = () => `whitesweep-review:${sheet.folder}`;

  function loadMarks() {
    try {
      marks = new Map(JSON.parse(localStorage.getItem(key()) || "[]"));
    } catch {
      marks = new Map(); // this browser keeps nothing for such a page
    }
    for (const [id, mark] of marks) if (equal(mark, decided.get(id))) marks.delete(id); // in force by now
  }

  function saveMarks() {
    try {
      localStorage.setItem(key(), JSON.stringify([...marks]));
    } catch {
      // the marks last as long as the page
    }
  }

  const equal = (one, other) => (one ? Boolean(other) && one.decision === other.decision && one.parameters === other.parameters : !other);
  const current = (id) => (marks.has(id) ? marks.get(id) : decided.get(id)) || null;

  function mark(at, decision) {
    const id = sheet.rows.id[at];
    if (!id) return;
    const before = decided.get(id);
    let made = null;
    if (decision) {
      const parameters = decision === "change" ? `threshold=${Number(thresholds.get(at).toFixed(2))}` : "";
      made = { decision, parameters, note: before ? before.note : "" };
    } else if (marks.has(id)) {
      made = before || null; // undo the mark; without one, take back what is in force
    }
    if (equal(made, before)) marks.delete(id);
    else marks.set(id, made);
    saveMarks();
    for (const element of document.querySelectorAll("article")) if (sheet.rows.id[element.at] === id) element.update();
    showMarked();
  }

  function showMarked() {
    $("marked").textContent = plural(marks.size, "mark", "marks");
    $("forget").disabled = !marks.size;
    $("export").disabled = !marks.size && !decided.size;
  }

  function decisionsFile() {
    const all = new Map(decided);
    for (const [id, made] of marks) {
      if (made) all.set(id, made);
      else all.delete(id);
    }
    const field = (text) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const lines = [...all].map(([id, made]) => [id, made.decision, made.parameters, made.note].map((text) => field(text || "")).join(","));
    return `${["id,decision,parameters,note", ...lines].join("\r\n")}\r\n`;
  }

  function save() {
    const address = URL.createObjectURL(new Blob([decisionsFile()], { type: "text/csv" }));
    const link = make("a", { href: address, download: "decisions.csv" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  // --- Keys

  function focused() {
    return document.activeElement && document.activeElement.closest("article");
  }

  function step(by) {
    const cards = [...document.querySelectorAll("article")];
    if (!cards.length) return;
    const here = cards.indexOf(focused());
    let to = here < 0 ? (by > 0 ? 0 : cards.length - 1) : here + by;
    if (to < 0 || to >= cards.length) {
      if (!turn(by)) return;
      const fresh = [...document.querySelectorAll("article")];
      fresh.at(by > 0 ? 0 : -1).focus();
      return;
    }
    cards[to].focus();
    cards[to].scrollIntoView({ block: "nearest" });
  }

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !sheet) return;
    const target = event.target;
    const types = target instanceof HTMLInputElement && target.type !== "range";
    if (event.key === "Escape" && types) target.blur();
    if (types || target instanceof HTMLSelectElement) return;
    const here = focused();
    const marksBy = { g: "good", r: "redo", o: "keep", u: null };
    if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "n") turn(1);
    else if (event.key === "p") turn(-1);
    else if (event.key === "/") $("search").focus();
    else if (event.key === "?") toggleHelp();
    else if (here && event.key in marksBy) mark(here.at, marksBy[event.key]);
    else if (here && ["t", "+", "=", "-"].includes(event.key)) {
      const box = here.querySelector(".controls");
      if (!box || !box.preview) return;
      if (event.key === "t") mark(here.at, "change");
      else box.preview.slide(Math.min(1, Math.max(0.01, Number((thresholds.get(here.at) + (event.key === "-" ? -0.05 : 0.05)).toFixed(2)))));
    } else return;
    event.preventDefault();
  }

  function toggleHelp() {
    $("help").hidden = !$("help").hidden;
    $("help-button").setAttribute("aria-expanded", String(!$("help").hidden));
  }

  $("previous").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
  $("on-white").addEventListener("click", () => setBackground(true));
  $("on-chequer").addEventListener("click", () => setBackground(false));
  $("export").addEventListener("click", save);
  $("forget").addEventListener("click", () => {
    if (!confirm(`Discard ${plural(marks.size, "mark", "marks")}?`)) return;
    marks.clear();
    saveMarks();
    filter();
  });
  $("help-button").addEventListener("click", toggleHelp);
  document.addEventListener("keydown", press);
  window.addEventListener("hashchange", () => {
    if (!sheet) return;
    readHash();
    filter();
  });
  document.addEventListener("DOMContentLoaded", () => {
    if (sheet) return;
    $("problem").textContent = "The data of this sheet are not there: write it again.";
    $("problem").hidden = false;
  });

  return { index, rows, decisionsFile };
})();
