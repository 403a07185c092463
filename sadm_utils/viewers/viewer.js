// Viewers of the book: sliders choose planes of numbers, which are laid over each other on canvases.
// Every figure carries this file; the first one on a page defines it, all call it. No ids, no
// library, no request: it works from a file, in JupyterLab and without a network.
(() => {
  "use strict";
  if (window.sadmViewers) { window.sadmViewers(); return; }

  // ---- numbers -------------------------------------------------------------------------------

  // Deflated differences of neighbors, in base64: see pack.py.
  async function unpack({ shape, data }) {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const inflate = new DecompressionStream("deflate");
    const values = new Uint8Array(
      await new Response(new Blob([bytes]).stream().pipeThrough(inflate)).arrayBuffer());
    for (let i = 1; i < values.length; i++) values[i] += values[i - 1]; // wraps at 256, as it should
    return { shape, values };
  }

  const at = (view, name) => Number(view.inputs[name].value);
  const limit = (view, above) => (typeof above === "string" ? at(view, above) : above);

  // The plane of an array (…, rows, columns) at the stops of the sliders `by`.
  function plane(view, name, by) {
    const { shape, values } = view.arrays[name];
    const [rows, columns] = shape.slice(-2);
    const index = by.reduce((n, slider, axis) => n * shape[axis] + at(view, slider), 0);
    const size = rows * columns;
    return values.subarray(index * size, (index + 1) * size);
  }

  function chosen(view, where) {
    if (!where) return () => true;
    const values = plane(view, where.array, where.by), above = limit(view, where.above);
    return (i) => values[i] > above;
  }

  // Cells, and hits, above each stop: everything that Dice, precision and recall need.
  function count(view, { levels, truth, above }) {
    const level = view.arrays[levels].values, lesion = view.arrays[truth].values;
    const stops = Number(view.inputs[above].max) + 1;
    const marked = new Array(stops + 1).fill(0), hits = new Array(stops + 1).fill(0);
    let positives = 0;
    for (let i = 0; i < level.length; i++) {
      marked[level[i]] += 1;
      if (lesion[i]) { hits[level[i]] += 1; positives += 1; }
    }
    for (let k = stops - 1; k >= 0; k--) { marked[k] += marked[k + 1]; hits[k] += hits[k + 1]; }
    // Above stop k lie the cells with a level of k + 1 and more.
    return { marked: marked.slice(1), hits: hits.slice(1), positives, above };
  }

  function rate(view, name) {
    const k = at(view, view.count.above), { positives } = view.count;
    const marked = view.count.marked[k], hits = view.count.hits[k];
    if (name === "precision") return marked ? hits / marked : NaN;
    if (!positives) return NaN;
    return name === "recall" ? hits / positives : (2 * hits) / (marked + positives);
  }

  // ---- pictures ------------------------------------------------------------------------------

  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

  // Fill cells with a color [r, g, b, a], or leave them clear, and lay them over the canvas.
  function lay(context, [rows, columns], color, opacity) {
    const scratch = document.createElement("canvas");
    scratch.width = columns; scratch.height = rows;
    const small = scratch.getContext("2d"), image = small.createImageData(columns, rows);
    for (let i = 0; i < rows * columns; i++) {
      const c = color(i);
      if (c) image.data.set(c, 4 * i);
    }
    small.putImageData(image, 0, 0);
    context.globalAlpha = opacity;
    context.imageSmoothingEnabled = false;
    context.drawImage(scratch, 0, 0, context.canvas.width, context.canvas.height);
    context.globalAlpha = 1;
  }

  const painters = {
    picture(view, context, layer) {
      const values = plane(view, layer.array, layer.by), inside = chosen(view, layer.where);
      const map = view.maps[layer.colors];
      const opacity = typeof layer.opacity === "string"
        ? view.spec.numbers[layer.opacity][at(view, layer.opacity)] : layer.opacity;
      lay(context, view.arrays[layer.array].shape.slice(-2), (i) => {
        const v = Math.min(255, Math.round(255 * values[i] / layer.top));
        const alpha = layer.fade ? 255 * (v / 255) ** 0.7 : 255;
        return inside(i) && [map[3 * v], map[3 * v + 1], map[3 * v + 2], alpha];
      }, opacity);
    },
    flat(view, context, layer) {
      const inside = chosen(view, layer.where), color = [...rgb(layer.color), 255];
      const shape = view.arrays[layer.where.array].shape.slice(-2);
      lay(context, shape, (i) => inside(i) && color, layer.opacity);
    },
    verdict(view, context, layer) {
      const inside = chosen(view, layer.where), truth = plane(view, layer.truth, layer.truthBy);
      const [hit, alarm, miss] = layer.colors.map((hex) => [...rgb(hex), 255]);
      const shape = view.arrays[layer.truth].shape.slice(-2);
      lay(context, shape, (i) => (
        inside(i) ? (truth[i] ? hit : alarm) : truth[i] ? miss : null), layer.opacity);
    },
    outline(view, context, layer) {
      const inside = chosen(view, layer.where);
      const [rows, columns] = view.arrays[layer.where.array].shape.slice(-2);
      const w = context.canvas.width / columns, h = context.canvas.height / rows;
      const edge = (a, b, c, d) => { context.moveTo(a * w, b * h); context.lineTo(c * w, d * h); };
      context.beginPath();
      for (let y = 0; y < rows; y++) {
        for (let x = 0; x < columns; x++) {
          const i = y * columns + x;
          if (!inside(i)) continue;
          if (x === 0 || !inside(i - 1)) edge(x, y, x, y + 1);
          if (x === columns - 1 || !inside(i + 1)) edge(x + 1, y, x + 1, y + 1);
          if (y === 0 || !inside(i - columns)) edge(x, y, x + 1, y);
          if (y === rows - 1 || !inside(i + columns)) edge(x, y + 1, x + 1, y + 1);
        }
      }
      context.strokeStyle = layer.color;
      const shrunk = context.canvas.width / (context.canvas.clientWidth || context.canvas.width);
      context.lineWidth = Math.max(1.5 * Math.max(1, shrunk), w / 4); // no thinner on the page
      context.lineCap = "square";
      context.stroke();
    },
    curve: drawCurve,
  };

  // Curves over the stops of a slider, on white like the other figures, in letters of 14 pixels.
  function drawCurve(view, context, { x, lines, by, xlabel }) {
    const canvas = context.canvas, width = canvas.clientWidth || 320, height = 0.75 * width;
    const dots = window.devicePixelRatio || 1;
    canvas.width = width * dots; canvas.height = height * dots;
    context.setTransform(dots, 0, 0, dots, 0, 0);
    context.fillStyle = "#fff"; context.fillRect(0, 0, width, height);
    const most = Math.max(0, ...lines.flatMap((line) => line.y.filter(Number.isFinite)));
    const top = [0.1, 0.2, 0.4, 0.6, 0.8, 1].find((v) => v >= most) ?? most; // four even steps
    const left = 46, right = width - 14, low = height - 44, high = 12;
    const px = (v) => left + (right - left) * (v - x[0]) / (x[x.length - 1] - x[0] || 1);
    const py = (v) => low - (low - high) * v / top;
    context.font = "14px sans-serif"; context.fillStyle = "#000";
    context.strokeStyle = "#ccc"; context.lineWidth = 1; context.textAlign = "right";
    for (let step = 0; step <= 4; step++) {
      const v = top * step / 4;
      context.beginPath(); context.moveTo(left, py(v)); context.lineTo(right, py(v)); context.stroke();
      context.fillText(v.toFixed(2), left - 6, py(v) + 5);
    }
    context.textAlign = "center";
    for (const v of [x[0], (x[0] + x[x.length - 1]) / 2, x[x.length - 1]]) {
      context.fillText(String(v), px(v), low + 18);
    }
    context.fillText(xlabel, (left + right) / 2, height - 6);
    const here = at(view, by);
    context.strokeStyle = "#666"; context.beginPath();
    context.moveTo(px(x[here]), high); context.lineTo(px(x[here]), low); context.stroke();
    for (const line of lines) {
      context.strokeStyle = context.fillStyle = line.color; context.lineWidth = 2.5;
      context.setLineDash(line.dash); context.beginPath();
      line.y.forEach((v, i) => {
        const gap = v === null || i === 0 || line.y[i - 1] === null;
        context[gap ? "moveTo" : "lineTo"](px(x[i]), py(v ?? 0));
      });
      context.stroke(); context.setLineDash([]);
      if (line.y[here] === null) continue;
      context.beginPath(); context.arc(px(x[here]), py(line.y[here]), 6, 0, 7); context.fill();
    }
  }

  // ---- one viewer ----------------------------------------------------------------------------

  function draw(view) {
    for (const [name, input] of Object.entries(view.inputs)) {
      const text = view.spec.texts[name][at(view, name)];
      input.setAttribute("aria-valuetext", text);
      input.closest("label").querySelector(".value").textContent = text;
    }
    view.canvases.forEach((canvas, n) => {
      const context = canvas.getContext("2d");
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.fillStyle = "#000"; context.fillRect(0, 0, canvas.width, canvas.height);
      for (const layer of view.spec.panels[n]) painters[layer.kind](view, context, layer);
    });
    view.outputs.forEach((output, n) => {
      const reading = view.spec.readings[n];
      if (reading.rate) {
        const value = rate(view, reading.rate);
        output.textContent = Number.isFinite(value) ? value.toFixed(3) : "–";
        output.dataset.value = String(value);
      } else output.textContent = reading.texts[at(view, reading.by)];
    });
  }

  async function mount(root) {
    root.dataset.state = "loading";
    const spec = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    const view = { spec, inputs: {}, arrays: {}, maps: {} };
    for (const input of root.querySelectorAll("input")) view.inputs[input.name] = input;
    for (const [name, array] of Object.entries(spec.arrays)) view.arrays[name] = await unpack(array);
    for (const [name, map] of Object.entries(spec.maps)) view.maps[name] = (await unpack(map)).values;
    view.canvases = [...root.querySelectorAll("canvas")];
    view.outputs = [...root.querySelectorAll("output")];
    if (spec.count) view.count = count(view, spec.count);
    let waiting = false;
    const soon = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; draw(view); });
    };
    for (const input of Object.values(view.inputs)) input.addEventListener("input", soon);
    root.dataset.state = "ready"; // shows the canvases, whose size a curve needs
    draw(view);
    const wide = root.querySelector("figure.wide");
    if (wide && window.ResizeObserver) new ResizeObserver(soon).observe(wide);
  }

  window.sadmViewers = () => {
    for (const root of document.querySelectorAll(".sadm-viewer:not([data-state])")) {
      mount(root).catch((error) => { // the static picture stays
        root.dataset.state = "failed";
        console.error("viewer:", error);
      });
    }
  };
  window.sadmViewers();
})();
