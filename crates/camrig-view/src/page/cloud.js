// A point cloud of one camera, in plain WebGL 2. The shader makes a point of every depth pixel.

import { GUIDES_TEXT, floorOf, guideLines } from "./guides.js";
import { Orbit } from "./orbit.js";

const VERTEX = `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;

uniform usampler2D depth;
uniform sampler2D color;
uniform vec4 depthLens;      // fx, fy, ppx, ppy
uniform vec4 colorLens;
uniform vec2 colorSize;      // 0 where there is no color
uniform mat3 rotation;       // from color to depth
uniform vec3 translation;
uniform float unitMeters;
uniform vec2 range;
uniform bool byDepth;
uniform float size;          // of a point, relative to the distance of adjacent points

uniform mat3 turn;           // rotation of the eye around the pivot
uniform vec3 pivot;
uniform vec3 eye;            // pan right, pan down, distance
uniform vec2 focal;
uniform float pixels;        // screen pixels for the height of the image at distance 1

out vec3 tint;

// Turbo, with the same polynomial as pictures of depth.
vec3 turbo(float x) {
  const vec4 r = vec4(0.13572138, 4.6153926, -42.660323, 132.13108); const vec2 r2 = vec2(-152.9424, 59.28638);
  const vec4 g = vec4(0.09140261, 2.1941884, 4.8429666, -14.185033); const vec2 g2 = vec2(4.2772985, 2.829566);
  const vec4 b = vec4(0.1066733, 12.641946, -60.58205, 110.36277); const vec2 b2 = vec2(-89.90311, 27.34825);
  vec4 low = vec4(1.0, x, x * x, x * x * x);
  vec2 high = low.zw * low.z;
  return clamp(vec3(dot(r, low) + dot(r2, high), dot(g, low) + dot(g2, high), dot(b, low) + dot(b2, high)), 0.0, 1.0);
}

void main() {
  int width = textureSize(depth, 0).x;
  ivec2 pixel = ivec2(gl_VertexID % width, gl_VertexID / width);
  uint units = texelFetch(depth, pixel, 0).r;
  gl_PointSize = 1.0;
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);   // outside of the view, unless there is depth
  if (units == 0u) return;

  float z = float(units) * unitMeters;
  vec3 point = vec3((vec2(pixel) - depthLens.zw) / depthLens.xy * z, z);

  tint = turbo(0.9 - 0.8 * clamp((z - range.x) / (range.y - range.x), 0.0, 1.0));
  if (!byDepth && colorSize.x > 0.0) {
    vec3 seen = transpose(rotation) * (point - translation);
    vec2 place = (seen.xy / seen.z * colorLens.xy + colorLens.zw + 0.5) / colorSize;
    bool inside = all(greaterThanEqual(place, vec2(0.0))) && all(lessThanEqual(place, vec2(1.0)));
    tint = inside ? texture(color, place).rgb : vec3(0.22);
  }

  vec3 view = turn * (point - pivot) + eye;
  if (view.z <= 0.0) return;
  float far = 50.0 * eye.z;
  // Linear in distance: a point needs no perspective of its own, and none is behind the viewer.
  gl_Position = vec4(view.x * focal.x, -view.y * focal.y, (2.0 * view.z / far - 1.0) * view.z, view.z);
  gl_PointSize = clamp(1.4 * size * z / depthLens.y * pixels / view.z, 1.0, 64.0);
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
in vec3 tint;
out vec4 fragment;
void main() { fragment = vec4(tint, 1.0); }`;

const LINE_VERTEX = `#version 300 es
precision highp float;
layout(location = 0) in vec3 place;
layout(location = 1) in vec3 hue;
uniform mat3 turn;
uniform vec3 pivot;
uniform vec3 eye;
uniform vec2 focal;
out vec3 tint;
void main() {
  tint = hue;
  vec3 view = turn * (place - pivot) + eye;
  gl_Position = vec4(view.x * focal.x, -view.y * focal.y, (2.0 * view.z / (50.0 * eye.z) - 1.0) * view.z, view.z);
}`;

export class Cloud {
  #settings;
  #canvas;
  #gl;
  #points = null;
  #lines = null;
  /** Buffers: of no attribute for points, of lines for guides. */
  #guides = null;
  #none = null;
  #depth = null;
  #pivot = null;
  #orbit;
  #waiting = false;
  #textures = {};
  #resized;

  constructor(settings) {
    this.#settings = settings;
    this.element = document.querySelector("#pane").content.firstElementChild.cloneNode(true);
    this.element.classList.add("cloud");
    this.#canvas = this.element.querySelector("canvas");
    this.#gl = this.#canvas.getContext("webgl2", { antialias: false, alpha: false });
    if (!this.#gl) {
      this.element.querySelector("figcaption").textContent = "this browser has no WebGL 2";
      return;
    }
    this.element.querySelector("figcaption").textContent = `drag to turn · wheel to zoom · shift-drag to move · ${GUIDES_TEXT}`;
    this.#prepare();
    this.#orbit = new Orbit(this.#canvas, () => this.#draw());
    this.#resized = new ResizeObserver(() => this.#draw());
    this.#resized.observe(this.element);
  }

  remove() {
    this.element.remove();
    this.#resized?.disconnect();
    this.#gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }

  /** Shows depth with its color image. */
  show(depth, color, range) {
    const gl = this.#gl;
    if (!gl || !depth?.lens) return;
    this.#depth = depth;
    gl.useProgram(this.#points.program);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.#textures.depth);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R16UI, depth.width, depth.height, 0, gl.RED_INTEGER, gl.UNSIGNED_SHORT, depth.units);
    const colored = color && depth.colorLens && depth.colorToDepth;
    if (colored) {
      gl.activeTexture(gl.TEXTURE1);
      gl.bindTexture(gl.TEXTURE_2D, this.#textures.color);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, color);
      gl.uniform4f(this.#points.uniforms.colorLens, ...lens(depth.colorLens));
      gl.uniformMatrix3fv(this.#points.uniforms.rotation, false, depth.colorToDepth.rotation);
      gl.uniform3f(this.#points.uniforms.translation, ...depth.colorToDepth.translation_meters);
    }
    gl.uniform2f(this.#points.uniforms.colorSize, colored ? depth.colorLens.width : 0, colored ? depth.colorLens.height : 0);
    gl.uniform4f(this.#points.uniforms.depthLens, ...lens(depth.lens));
    gl.uniform1f(this.#points.uniforms.unitMeters, depth.unitMeters);
    const shown = range ?? [0, 4];
    gl.uniform2f(this.#points.uniforms.range, ...shown);
    this.#pivot ??= middle(depth);
    this.#guides ??= this.#bufferOf(guideLines(floorOf(heights(depth))));
    this.#draw();
  }

  #prepare() {
    const gl = this.#gl;
    this.#points = programOf(gl, VERTEX);
    this.#lines = programOf(gl, LINE_VERTEX);
    this.#none = gl.createVertexArray();
    gl.useProgram(this.#points.program);
    gl.enable(gl.DEPTH_TEST);
    gl.clearColor(0.031, 0.039, 0.051, 1);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 2);
    for (const [unit, name, filter] of [[0, "depth", gl.NEAREST], [1, "color", gl.LINEAR]]) {
      this.#textures[name] = gl.createTexture();
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, this.#textures[name]);
      for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, filter);
      for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
      gl.uniform1i(this.#points.uniforms[name], unit);
    }
  }

  /** Returns to the initial view. */
  home() {
    this.#orbit?.home();
  }

  /** Draws again, after a change of the settings. */
  draw() {
    if (this.#gl) this.#draw();
  }

  /** Returns an array of the vertices of lines. */
  #bufferOf(lines) {
    const gl = this.#gl;
    const array = gl.createVertexArray();
    gl.bindVertexArray(array);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    const data = new Float32Array(lines.flatMap(({ from, to, color }) => [...from, ...color, ...to, ...color]));
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    for (const place of [0, 1]) {
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, 3, gl.FLOAT, false, 24, 12 * place);
    }
    gl.bindVertexArray(null);
    return { array, count: 2 * lines.length };
  }

  /** Schedules one drawing for the next screen update, however often it is called. */
  #draw() {
    if (this.#waiting || !this.#depth) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#paint();
    });
  }

  #paint() {
    const [gl, canvas, uniforms, depth, eye] = [this.#gl, this.#canvas, this.#points.uniforms, this.#depth, this.#orbit.eye];
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * devicePixelRatio));
    if (width === 0 || height === 0) return;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.viewport(0, 0, width, height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    // From the camera's position its complete image just fits.
    const focal = (2 * depth.lens.fy) / depth.height;
    const distance = this.#pivot * eye.zoom;
    const look = ({ program, uniforms }) => {
      gl.useProgram(program);
      gl.uniformMatrix3fv(uniforms.turn, false, this.#orbit.rotation);
      gl.uniform3f(uniforms.pivot, 0, 0, this.#pivot);
      gl.uniform3f(uniforms.eye, eye.right * this.#pivot, eye.down * this.#pivot, distance);
      gl.uniform2f(uniforms.focal, (focal * height) / width, focal);
    };
    if (this.#settings.guides && this.#guides) {
      look(this.#lines);
      gl.bindVertexArray(this.#guides.array);
      gl.drawArrays(gl.LINES, 0, this.#guides.count);
      gl.bindVertexArray(this.#none);
    }
    look(this.#points);
    gl.uniform1f(uniforms.pixels, (focal * height) / 2);
    gl.uniform1f(uniforms.size, this.#settings.pointSize);
    gl.uniform1i(uniforms.byDepth, this.#settings.tint === "depth" ? 1 : 0);
    gl.drawArrays(gl.POINTS, 0, depth.width * depth.height);
    this.element.dataset.painted = Number(this.element.dataset.painted ?? 0) + 1;
  }
}

function lens({ fx, fy, ppx, ppy }) {
  return [fx, fy, ppx, ppy];
}

/** Compiles a program. Returns it with the places of its uniforms. */
function programOf(gl, vertex) {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  const uniforms = {};
  for (let index = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); index-- > 0;) {
    const { name } = gl.getActiveUniform(program, index);
    uniforms[name] = gl.getUniformLocation(program, name);
  }
  return { program, uniforms };
}

/** Returns the heights of some points, in metres below the camera. */
function heights({ units, unitMeters, lens, width }) {
  const found = [];
  for (let at = 0; at < units.length; at += 97) {
    if (units[at] !== 0) found.push(((Math.floor(at / width) - lens.ppy) / lens.fy) * units[at] * unitMeters);
  }
  return found;
}

/** Returns the median depth, around which the eye rotates. */
function middle({ units, unitMeters }) {
  const some = units.filter((value, index) => value !== 0 && index % 97 === 0).sort();
  return some.length ? some[some.length >> 1] * unitMeters : 1;
}
