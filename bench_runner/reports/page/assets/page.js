"use strict";
(() => {
  const runs = JSON.parse(document.getElementById("curves").textContent);
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const COLOURS = ["#0b6bcb", "#c4530a", "#2e8540", "#8a3ffc", "#b5179e", "#00838f", "#6d4c41", "#5c6bc0", "#9e9d24", "#d81b60"];
  const time = s => s == null ? "–" : s === 0 ? "0" : s < 0.001 ? (s * 1e6).toPrecision(3) + " µs" : s < 1 ? (s * 1e3).toPrecision(3) + " ms" : s.toPrecision(3) + " s";
  const plain = v => v == null ? "–" : (+v.toPrecision(3)).toLocaleString("en");
  const nines = s => -Math.log10(1 - s);
  const axis = (label, values, more) => ({label, values: (u, ticks) => ticks.map(values), stroke: css("--dim"), grid: {stroke: css("--line")}, ticks: {stroke: css("--line")}, size: 62, font: "12px system-ui", labelFont: "12px system-ui", ...more});
  const several = runs.length > 1;
  const label = (run, stage) => several ? run.name + " " + stage.name : stage.name;
  const stages = () => runs.flatMap(run => run.stages.map(stage => ({run, stage, name: label(run, stage)})));

  // one plot of series that each have their own x
  function plot(host, title, lines, x, y, more = {}) {
    lines = lines.filter(line => line.x.length > 0);
    if (!lines.length) return false;
    const box = document.createElement("div");
    host.append(box);
    const width = () => Math.max(260, Math.min(host.clientWidth - 16, more.half && host.clientWidth > 760 ? (host.clientWidth - 48) / 2 : host.clientWidth - 16));
    const series = lines.map((line, k) => ({label: line.name, stroke: COLOURS[k % COLOURS.length], width: 2, value: (u, v) => y.text(v), points: {show: line.x.length < 12}, ...line.style}));
    const chart = new uPlot({
      title, width: width(), height: 280, cursor: {drag: {x: true, y: false}}, scales: {x: {time: false, ...x.scale}, y: {...y.scale}, ...more.scales},
      axes: [axis(x.label, x.text, x.axis), axis(y.label, y.text), ...(more.axes || [])], series: [{label: x.label, value: (u, v) => x.text(v)}, ...series],
    }, uPlot.join(lines.map(line => [line.x, line.y])), box);
    new ResizeObserver(() => chart.setSize({width: width(), height: 280})).observe(host);
    return true;
  }

  const seconds = {label: "seconds", text: time, scale: {range: (u, low, high) => [0, high * 1.05 || 1]}};
  const quantile = {label: "percentile", text: n => n == null ? "–" : "p" + +((1 - 10 ** -n) * 100).toPrecision(6), axis: {splits: () => [0, 0.30103, 1, 1.30103, 2, 3, 4], size: 40}};
  const calls = () => stages().some(({stage}) => stage.calls); // of a database: no first token, and no token at all
  const draw = {
    percentiles: host => ["ttft", "tpot", "e2e"].map(metric => plot(host, metric.toUpperCase(), stages().map(({stage, name}) => {
      const curve = stage.percentiles[metric] || {share: [], value: []};
      return {name, x: curve.share.map(nines), y: curve.value};
    }), quantile, seconds, {half: true})).some(Boolean),
    histograms: host => (calls() ? ["e2e"] : ["ttft", "tpot"]).map(metric => plot(host, metric.toUpperCase(), stages().flatMap(({stage, name}) => {
      const found = stage.histograms[metric];
      return found ? [{name, x: found.at, y: found.count, style: {paths: uPlot.paths.stepped({align: 0}), points: {show: false}}}] : [];
    }), {label: "seconds", text: time, axis: {size: 40}}, {label: "requests", text: plain, scale: {range: (u, low, high) => [0, high * 1.05 || 1]}}, {half: true})).some(Boolean),
    moments: host => plot(host, "median of each moment, and the largest", stages().flatMap(({stage, name}, k) => stage.moments.at.length ? [
      {name, x: stage.moments.at, y: stage.moments.middle, style: {stroke: COLOURS[k % COLOURS.length], width: 0, points: {show: true, size: 4, fill: COLOURS[k % COLOURS.length]}}},
      {name: name + " largest", x: stage.moments.at, y: stage.moments.most, style: {stroke: COLOURS[k % COLOURS.length], width: 0, points: {show: true, size: 3}}},
    ] : []), {label: "seconds of the run", text: plain, axis: {size: 40}}, seconds),
    load: host => runs.map(run => {
      const known = run.stages.filter(stage => stage.load).sort((a, b) => a.load - b.load), x = known.map(stage => stage.load);
      if (known.length < 2) return false;
      const at = (key, style) => ({name: key[0], x, y: known.map(stage => stage.figures[key[1]]), style});
      const [title, key, yields, of] = calls() ? ["E2E", "e2e", "calls/s", "requests"] : ["TTFT", "ttft", "output tokens/s", "tokens"];
      return plot(host, several ? run.name : "", [at([title + " p50", key + "_p50"]), at([title + " p99", key + "_p99"]), at([yields, of], {scale: "rate", dash: [6, 4], value: (u, v) => plain(v)})],
        {label: "load", text: plain, axis: {size: 40}}, seconds, {axes: [axis(yields.replace("output ", ""), plain, {side: 1, scale: "rate", grid: {show: false}})], scales: {rate: {range: (u, low, high) => [0, high * 1.05 || 1]}}});
    }).some(Boolean),
    // best yield that keeps a user at least so fast: a staircase, for nothing between two measured points was measured
    pareto: host => plot(host, "", runs.map(run => {
      const points = run.stages.map(stage => [stage.figures.tpot_p50 ? 1 / stage.figures.tpot_p50 : null, stage.figures.tokens]).filter(p => p[0] && p[1]).sort((a, b) => b[0] - a[0]);
      let best = -1;
      const kept = points.filter(p => p[1] > best ? (best = p[1], true) : false).reverse();
      return {name: run.name, x: kept.map(p => p[0]), y: kept.map(p => p[1]), style: {paths: uPlot.paths.stepped({align: -1}), points: {show: true, size: 6}}};
    }), {label: "tokens/s a user (1 / TPOT p50)", text: plain, axis: {size: 40}}, {label: "tokens/s", text: plain, scale: {range: (u, low, high) => [0, high * 1.05 || 1]}}),
  };
  const NONE = {load: "one load alone was measured", pareto: "no steady throughput", histograms: "no request log beside the result", moments: "no request log beside the result", percentiles: "too few samples"};

  for (const figure of document.querySelectorAll(".chart")) {
    const host = figure.querySelector(".plot"), name = figure.dataset.chart;
    host.classList.add("plots");
    if (!draw[name](host)) { const text = document.createElement("p"); text.className = "none"; text.textContent = NONE[name]; host.append(text); host.removeAttribute("role"); }
  }
  for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
    const head = button.parentElement, column = [...head.parentElement.children].indexOf(head), body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => { const cell = row.children[column]; return cell.dataset.sort !== undefined ? +cell.dataset.sort : cell.textContent; };
    const order = (a, b) => { const x = key(a), y = key(b); return typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", {numeric: true}); };
    body.append(...[...body.rows].sort((a, b) => down ? order(b, a) : order(a, b)));
  });
  for (const input of document.querySelectorAll(".filter")) input.addEventListener("input", () => {
    for (const row of input.nextElementSibling.querySelectorAll("tbody tr")) row.hidden = !row.textContent.toLowerCase().includes(input.value.toLowerCase());
  });
  for (const button of document.querySelectorAll(".copy")) button.addEventListener("click", async () => {
    const text = button.previousElementSibling.textContent;
    try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch { getSelection().selectAllChildren(button.previousElementSibling); button.textContent = "Selected"; }
  });
  document.documentElement.dataset.drawn = "yes";
})();
