// Turns each element of the class "view3d" into a view of its meshes. Without WebGL its still picture stays.
"use strict";
(() => {
  const VERTEX = `#version 300 es
    uniform vec3 size; uniform mat3 turn; uniform vec3 centre; uniform vec4 lens;
    in vec3 position; in vec3 normal; in float shade; in float value;
    out vec3 place; out vec3 facing; out float light; out float level;
    void main() {
      place = position * size;
      vec3 seen = turn * (place - centre);
      facing = turn * normal; light = shade; level = value;
      gl_Position = vec4((seen.xy - lens.zw) * lens.xy, -seen.z / length(size), 1.0);
    }`;
  const FRAGMENT = `#version 300 es
    precision highp float;
    uniform vec3 colour; uniform float opacity; uniform vec4 plane; uniform int kind; uniform sampler2D ramp;
    in vec3 place; in vec3 facing; in float light; in float level;
    out vec4 pixel;
    void main() {
      if (dot(plane.xyz, place) > plane.w) discard;
      vec3 base = kind > 0 ? texture(ramp, vec2(level * 0.996 + 0.002, 0.5)).rgb : colour;
      if (kind == 3) { pixel = vec4(colour, opacity); return; }
      if (!gl_FrontFacing) {
        // What is seen through the cut from behind is the section: flat, in the colour of what is cut.
        pixel = vec4(kind == 1 ? vec3(0.86) : base * 0.92, opacity); return;
      }
      vec3 n = normalize(facing);
      float lit = 0.28 + 0.8 * (0.8 * max(dot(n, normalize(vec3(0.3, 0.5, 1.0))), 0.0)
        + 0.38 * max(dot(n, normalize(vec3(-0.9, 0.2, 0.8))), 0.0)
        + 0.06 * max(dot(n, normalize(vec3(0.2, -1.0, 0.3))), 0.0));
      pixel = vec4(min(base * light * lit, vec3(1.0)), opacity);
    }`;
  const START = { azimuth: 32, elevation: 27, zoom: 1, shift: [0, 0] };

  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  async function unpack(text, Type) {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Type(await new Response(stream).arrayBuffer());
  }

  // (rows, n) of differences to (n, rows) of values; the typed array keeps the sums within its range.
  function summed(differences, rows) {
    const n = differences.length / rows, values = new differences.constructor(differences.length);
    for (let row = 0; row < rows; row++)
      for (let i = 0; i < n; i++)
        values[i * rows + row] = differences[row * n + i] + (i ? values[(i - 1) * rows + row] : 0);
    return values;
  }

  function normalsOf(positions, faces, size) {
    const sums = new Float32Array(positions.length), at = (i, k) => positions[3 * i + k] * size[k];
    for (let f = 0; f < faces.length; f += 3) {
      const [a, b, c] = faces.subarray(f, f + 3), u = [], v = [];
      for (let k = 0; k < 3; k++) { u[k] = at(b, k) - at(a, k); v[k] = at(c, k) - at(a, k); }
      for (let k = 0; k < 3; k++) {
        const p = (k + 1) % 3, q = (k + 2) % 3, across = u[p] * v[q] - u[q] * v[p];
        sums[3 * a + k] += across; sums[3 * b + k] += across; sums[3 * c + k] += across;
      }
    }
    const packed = new Int8Array(4 * positions.length / 3);
    for (let i = 0; i < positions.length / 3; i++) {
      const length = Math.hypot(sums[3 * i], sums[3 * i + 1], sums[3 * i + 2]) || 1;
      for (let k = 0; k < 3; k++) packed[4 * i + k] = Math.round(127 * sums[3 * i + k] / length);
    }
    return packed;
  }

  function program(gl) {
    const built = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source); gl.compileShader(shader); gl.attachShader(built, shader);
    }
    ["position", "normal", "shade", "value"].forEach((name, place) => gl.bindAttribLocation(built, place, name));
    gl.linkProgram(built);
    if (!gl.getProgramParameter(built, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(built));
    return built;
  }

  function attribute(gl, place, data, parts, type, stride) {
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, parts, type, true, stride, 0);
  }

  async function load(gl, surface, size) {
    const positions = summed(await unpack(surface.positions, Uint16Array), 3);
    const faces = summed(await unpack(surface.faces, Uint32Array), 3);
    const shade = await unpack(surface.shade, Uint8Array);
    const array = gl.createVertexArray();
    gl.bindVertexArray(array);
    // Three 16-bit numbers would not start at whole words.
    const padded = new Uint16Array(4 * surface.vertices);
    for (let i = 0; i < surface.vertices; i++) padded.set(positions.subarray(3 * i, 3 * i + 3), 4 * i);
    attribute(gl, 0, padded, 3, gl.UNSIGNED_SHORT, 8);
    attribute(gl, 1, normalsOf(positions, faces, size), 3, gl.BYTE, 4);
    attribute(gl, 2, shade, 1, gl.UNSIGNED_BYTE, 1);
    if (surface.values) attribute(gl, 3, await unpack(surface.values, Uint8Array), 1, gl.UNSIGNED_BYTE, 1);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
    const tint = [1, 3, 5].map((i) => parseInt(surface.colour.slice(i, i + 2), 16) / 255);
    return { ...surface, array, tint, shown: surface.opacity > 0, opacity: surface.opacity || 1, count: faces.length };
  }

  function outline(gl) {
    const corners = new Uint16Array(32), edges = [];
    for (let c = 0; c < 8; c++) for (let k = 0; k < 3; k++) {
      corners[4 * c + k] = (c >> k & 1) * 65535;
      if (!(c >> k & 1)) edges.push(c, c | 1 << k);
    }
    const array = gl.createVertexArray();
    gl.bindVertexArray(array);
    attribute(gl, 0, corners, 3, gl.UNSIGNED_SHORT, 8);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, new Uint32Array(edges), gl.STATIC_DRAW);
    gl.bindVertexArray(null);
    return array;
  }

  // Rows: right, up and towards the eye, of (x, y, z); z is up.
  function axesOf(view) {
    const a = view.azimuth * Math.PI / 180, e = view.elevation * Math.PI / 180;
    const towards = [Math.cos(e) * Math.sin(a), -Math.cos(e) * Math.cos(a), Math.sin(e)];
    const right = [Math.cos(a), Math.sin(a), 0];
    return [right, [0, 1, 2].map((k) => {
      const p = (k + 1) % 3, q = (k + 2) % 3;
      return towards[p] * right[q] - towards[q] * right[p];
    }), towards];
  }

  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const short = (value) => String(Number(value.toPrecision(4)));

  async function start(box) {
    const scene = JSON.parse(box.querySelector("script").textContent), size = scene.size;
    const canvas = make("canvas", { tabIndex: 0 });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", box.querySelector("img").alt + " Arrow keys turn it, plus and minus zoom.");
    const gl = canvas.getContext("webgl2", { antialias: true, alpha: true });
    if (!gl || typeof DecompressionStream === "undefined") return;
    const shader = program(gl), at = (name) => gl.getUniformLocation(shader, name);
    const surfaces = [];
    for (const surface of scene.surfaces) surfaces.push(await load(gl, surface, size));
    const edges = outline(gl);
    let ladder = null;
    if (scene.bar) {
      const ramp = await unpack(scene.bar.ramp, Uint8Array);
      gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, ramp.length / 3, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, ramp);
      for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.LINEAR);
      for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T])
        gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
      ladder = Array.from(ramp);
    }
    const view = structuredClone(START), cut = { axis: -1, depth: 1, side: 1 };
    const stage = make("div", { className: "stage" }, canvas);
    const labels = ["x", "y", "z"].map((name, k) => make("span", { textContent: `${name} ${short(size[k])} ${scene.unit}` }));
    const ruler = make("i"), rulerText = make("b"), scale = make("div", { className: "scale" }, rulerText, ruler);
    stage.append(...labels, scale);
    if (scene.bar) stage.append(colourBar(scene.bar, ladder));

    // So small that it fits however it is turned about z.
    function pixelsPerLength() {
      const tilt = view.elevation * Math.PI / 180, flat = Math.hypot(size[0], size[1]);
      const high = flat * Math.abs(Math.sin(tilt)) + size[2] * Math.cos(tilt);
      return view.zoom * Math.min((canvas.clientWidth - 140) / flat, (canvas.clientHeight - 70) / high);
    }

    function draw() {
      waiting = false;
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      const width = Math.max(1, Math.round(canvas.clientWidth * ratio)), height = Math.max(1, Math.round(canvas.clientHeight * ratio));
      if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
      gl.viewport(0, 0, width, height);
      gl.clearColor(0, 0, 0, 0); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      gl.enable(gl.DEPTH_TEST); gl.useProgram(shader);
      const axes = axesOf(view), scaleUp = pixelsPerLength();
      gl.uniform3fv(at("size"), size);
      gl.uniform3fv(at("centre"), size.map((s) => s / 2));
      gl.uniformMatrix3fv(at("turn"), true, axes.flat());
      gl.uniform4f(at("lens"), 2 * scaleUp / canvas.clientWidth, 2 * scaleUp / canvas.clientHeight, ...view.shift);
      const normal = [0, 1, 2].map((k) => (k === cut.axis ? cut.side : 0));
      const depth = cut.axis < 0 ? 1 : cut.side * cut.depth * size[cut.axis];
      gl.uniform4f(at("plane"), ...normal, depth);
      // The opaque first; what shines through is laid over it.
      for (const surface of [...surfaces].sort((a, b) => b.opacity - a.opacity)) {
        if (!surface.shown) continue;
        gl.uniform3fv(at("colour"), surface.tint);
        gl.uniform1f(at("opacity"), surface.opacity);
        gl.uniform1i(at("kind"), surface.values ? (scene.bar.solid ? 2 : 1) : 0);
        const through = surface.opacity < 1;
        (through ? gl.enable : gl.disable).call(gl, gl.BLEND);
        gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
        gl.depthMask(!through);
        gl.bindVertexArray(surface.array);
        gl.enable(gl.CULL_FACE);
        if (cut.axis >= 0) {
          // Where two phases share a surface, the section of the one that is cut lies in front.
          gl.enable(gl.POLYGON_OFFSET_FILL); gl.polygonOffset(-1, -2); gl.cullFace(gl.FRONT);
          gl.drawElements(gl.TRIANGLES, surface.count, gl.UNSIGNED_INT, 0);
          gl.disable(gl.POLYGON_OFFSET_FILL);
        }
        gl.cullFace(gl.BACK);
        gl.drawElements(gl.TRIANGLES, surface.count, gl.UNSIGNED_INT, 0);
      }
      gl.disable(gl.BLEND); gl.depthMask(true);
      gl.uniform4f(at("plane"), 0, 0, 0, 1);
      gl.uniform3f(at("colour"), 0.62, 0.66, 0.7); gl.uniform1f(at("opacity"), 1); gl.uniform1i(at("kind"), 3);
      gl.bindVertexArray(edges); gl.drawElements(gl.LINES, 24, gl.UNSIGNED_INT, 0); gl.bindVertexArray(null);
      write(axes, scaleUp);
    }

    // Each length beside the edge of the box that lies lowest, that of z beside the leftmost one.
    function write(axes, scaleUp) {
      const flatten = (point) => {
        const offset = point.map((p, k) => p - size[k] / 2);
        return [canvas.clientWidth / 2 + (dot(axes[0], offset) - view.shift[0]) * scaleUp,
          canvas.clientHeight / 2 - (dot(axes[1], offset) - view.shift[1]) * scaleUp];
      };
      const middle = flatten(size.map((s) => s / 2));
      labels.forEach((label, k) => {
        let best = null;
        for (const i of [0, 1]) for (const j of [0, 1]) {
          const from = [0, 0, 0], to = [0, 0, 0];
          from[(k + 1) % 3] = to[(k + 1) % 3] = i * size[(k + 1) % 3];
          from[(k + 2) % 3] = to[(k + 2) % 3] = j * size[(k + 2) % 3];
          to[k] = size[k];
          const a = flatten(from), b = flatten(to), c = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
          const score = k === 2 ? middle[0] - c[0] + 0.05 * (c[1] - middle[1]) : c[1] - middle[1] + 0.05 * (c[0] - middle[0]);
          if (!best || score > best.score) best = { score, a, b, c };
        }
        const along = [best.b[0] - best.a[0], best.b[1] - best.a[1]], length = Math.hypot(...along);
        label.hidden = length < 24;
        let across = [-along[1] / length, along[0] / length];
        if (across[0] * (best.c[0] - middle[0]) + across[1] * (best.c[1] - middle[1]) < 0) across = across.map((v) => -v);
        const room = (Math.abs(across[0]) * label.offsetWidth + Math.abs(across[1]) * label.offsetHeight) / 2 + 5;
        label.style.left = `${best.c[0] + room * across[0]}px`;
        label.style.top = `${best.c[1] + room * across[1]}px`;
      });
      const wanted = 90 / scaleUp, power = 10 ** Math.floor(Math.log10(wanted));
      const nice = [5, 2, 1].map((m) => m * power).find((v) => v <= wanted);
      ruler.style.width = `${nice * scaleUp}px`;
      rulerText.textContent = `${short(nice)} ${scene.unit}`;
    }

    let waiting = false;
    const redraw = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };
    listen(canvas, view, pixelsPerLength, redraw);
    box.append(stage, controls(surfaces, scene, cut, view, redraw));
    box.classList.add("ready");
    canvas.addEventListener("webglcontextlost", () => box.classList.remove("ready"));
    new ResizeObserver(redraw).observe(canvas);
    draw();
    box.dataset.triangles = surfaces.reduce((sum, surface) => sum + surface.count / 3, 0);
  }

  function listen(canvas, view, pixelsPerLength, redraw) {
    const fingers = new Map();
    const zoom = (factor) => { view.zoom = Math.min(Math.max(view.zoom * factor, 0.4), 40); redraw(); };
    const turn = (dx, dy) => {
      view.azimuth = (view.azimuth - dx) % 360;
      view.elevation = Math.min(Math.max(view.elevation + dy, -90), 90);
      redraw();
    };
    const shift = (dx, dy) => {
      view.shift[0] -= dx / pixelsPerLength(); view.shift[1] += dy / pixelsPerLength(); redraw();
    };
    canvas.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      canvas.setPointerCapture(event.pointerId);
    });
    for (const name of ["pointerup", "pointercancel"])
      canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const dx = event.clientX - before[0], dy = event.clientY - before[1];
      const other = [...fingers].find(([id]) => id !== event.pointerId);
      if (other) {
        const reach = (p) => Math.hypot(p[0] - other[1][0], p[1] - other[1][1]) || 1;
        zoom(reach([event.clientX, event.clientY]) / reach(before));
        shift(dx / 2, dy / 2);
      } else if (event.shiftKey || event.buttons & 2) shift(dx, dy);
      else turn(0.4 * dx, 0.4 * dy);
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    // Only once it has been clicked on: a page that is scrolled past must not zoom.
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas) return;
      event.preventDefault();
      zoom(Math.exp(-0.0012 * event.deltaY));
    }, { passive: false });
    const keys = {
      ArrowLeft: () => turn(-5, 0), ArrowRight: () => turn(5, 0), ArrowUp: () => turn(0, 5), ArrowDown: () => turn(0, -5),
      "+": () => zoom(1.15), "=": () => zoom(1.15), "-": () => zoom(1 / 1.15),
      0: () => { Object.assign(view, structuredClone(START)); redraw(); },
    };
    canvas.addEventListener("keydown", (event) => {
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault(); keys[event.key]();
    });
  }

  function controls(surfaces, scene, cut, view, redraw) {
    const bar = make("div", { className: "controls" });
    for (const surface of surfaces) {
      const tick = make("input", { type: "checkbox", checked: surface.shown });
      const swatch = make("i");
      if (!surface.values) swatch.style.background = surface.colour;
      else swatch.className = "ramp";
      tick.addEventListener("change", () => { surface.shown = tick.checked; redraw(); });
      bar.append(make("label", {}, tick, swatch, surface.name));
    }
    const choice = make("select", {}, ...["no cut", "cut x", "cut y", "cut z"].map((text, k) => make("option", { value: k - 1, textContent: text })));
    choice.setAttribute("aria-label", "Cut across");
    const depth = make("input", { type: "range", min: 0, max: 1, step: 0.005, value: 0.5, disabled: true });
    depth.setAttribute("aria-label", "Place of the cut");
    const place = make("output");
    const update = () => {
      cut.axis = Number(choice.value);
      // The half that is nearer to the eye is taken away.
      cut.side = cut.axis < 0 ? 1 : Math.sign(axesOf(view)[2][cut.axis]) || 1;
      depth.disabled = cut.axis < 0;
      cut.depth = Number(depth.value);
      place.textContent = cut.axis < 0 ? "" : `${short(Number(depth.value) * scene.size[cut.axis])} ${scene.unit}`;
      redraw();
    };
    choice.addEventListener("change", update);
    depth.addEventListener("input", update);
    const again = make("button", { type: "button", textContent: "Reset view" });
    again.addEventListener("click", () => { Object.assign(view, structuredClone(START)); redraw(); });
    const hint = make("small", { textContent: "Drag to turn, shift-drag to move; click, then wheel or pinch to zoom." });
    bar.append(make("span", { className: "cut" }, choice, depth, place), again, hint);
    return bar;
  }

  function colourBar(bar, ramp) {
    const steps = [];
    for (let i = 0; i < ramp.length; i += 24) steps.push(`rgb(${ramp[i]},${ramp[i + 1]},${ramp[i + 2]})`);
    steps.push(`rgb(${ramp.slice(-3).join(",")})`);
    const stripe = make("i"), column = make("div", { className: "stripe" }, stripe);
    stripe.style.background = `linear-gradient(to top, ${steps.join(",")})`;
    for (const [height, text] of bar.ticks) {
      const tick = make("span", { textContent: text });
      tick.style.bottom = `${100 * height}%`;
      column.append(tick);
    }
    return make("div", { className: "bar" }, make("p", { textContent: bar.title }), column);
  }

  for (const box of document.querySelectorAll(".view3d")) start(box).catch((fault) => { box.dataset.fault = fault.message; });
})();
