import assert from "node:assert/strict";
import { test } from "node:test";
import { drawImages, drawPlane, drawTitle, readSnapshots } from "../../vae_lib/widgets/snapshots.js";

const view = (typed) => new DataView(typed.buffer);

/** Two snapshots of three codes, and of two images of four pixels. */
function traits(changes = {}) {
  const values = {
    labels: view(Uint8Array.of(0, 1, 11)),
    codes: view(Int16Array.of(0, 0, 32767, 0, 0, -32767, 0, 0, 0, 0, 0, 0)),
    reach: 3,
    decoded: view(Uint8Array.from({ length: 16 }, (_, i) => i)),
    places: [[[7, 0, 1]], [[7, 2, -1]]],
    ...changes,
  };
  return { get: (name) => values[name] };
}

test("snapshots are read, codes in units of the plane", () => {
  const record = readSnapshots(traits(), 2);
  assert.deepEqual([record.count, record.points, [...record.labels]], [2, 3, [0, 1, 11]]);
  assert.deepEqual([...record.codes], [0, 0, 3, 0, 0, -3, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual([...record.decoded], Array.from({ length: 16 }, (_, i) => i));
  assert.deepEqual(record.places[1], [[7, 2, -1]]);
});

test("what cannot be snapshots is told", () => {
  assert.throws(() => readSnapshots(traits(), 3), /expected/);
  assert.throws(() => readSnapshots(traits(), 0), /a whole number from 1 .* as the number of snapshots, got 0/);
  assert.throws(() => readSnapshots(traits({ decoded: view(new Uint8Array(15)) }), 2), /decoded images for each of 2 snapshots, got 15 bytes/);
  assert.throws(() => readSnapshots(traits({ decoded: view(new Uint8Array(0)) }), 2), /decoded images/);
  assert.throws(() => readSnapshots(traits({ labels: null }), 2), /expected labels, got null/);
  assert.throws(() => readSnapshots(traits({ codes: view(new Int16Array(11)) }), 2), /expected 12 coordinates of two bytes, got 22 bytes/);
  assert.throws(() => readSnapshots(traits({ reach: NaN }), 2), /as reach, got NaN/);
  for (const places of [null, [[]], [[[7, 0, 1]], []]]) assert.throws(() => readSnapshots(traits({ places }), 2), /the places of the same names/);
});

/** A context that notes what is called on it, with the colours at that moment. */
function recorder() {
  const calls = [];
  const state = { canvas: {} };
  const context = new Proxy(state, {
    get: (target, name) => (name in target ? target[name] : (...given) => void calls.push({ name, given, fill: target.fillStyle, stroke: target.strokeStyle })),
    set: (target, name, value) => Reflect.set(target, name, value),
  });
  return { context, of: (wanted) => calls.filter(({ name }) => name === wanted) };
}

test("codes, circles and names stand where the plane has them, upwards is upwards", () => {
  const { context, of } = recorder();
  const record = readSnapshots(traits(), 2);
  const box = { x: 10, y: 20, width: 200, height: 200 };
  const colors = ["#000001", "#000002", "#000003", "#000004", "#000005", "#000006", "#000007", "#000008", "#000009", "#00000a"];
  drawPlane(context, box, record, { from: 0, to: 1, share: 0.25 }, { codes: record.codes.subarray(0, 6), colors, limit: 4, ink: "#111111", paper: "white" });
  const dots = of("fillRect").map(({ given: [x, y, w, h], fill }) => [Math.round(x + w / 2), Math.round(y + h / 2), fill]);
  assert.deepEqual(dots, [[110, 120, "#000001"], [185, 120, "#000002"], [110, 195, "#000002"]]); // label 11 takes the second colour again
  assert.deepEqual(of("arc").map(({ given: [x, y, r] }) => [x, y, r]), [[110, 120, 25], [110, 120, 50], [110, 120, 75]]);
  const name = of("fillText").find(({ given }) => given[0] === "7").given;
  assert.deepEqual(name.slice(1), [110 + 0.5 * 25, 120 - 0.5 * 25 + 6]); // a quarter of the way from (0, 1) to (2, −1)
  assert.ok(of("fillText").some(({ given }) => given[0] === "shown: ±4.0"));
});

test("decoded images fill their box, and a narrow one has a short title", () => {
  globalThis.ImageData = class {
    constructor(data, width, height) {
      Object.assign(this, { data, width, height });
    }
  };
  try {
    for (const [width, title] of [[150, "Decoded from fixed z"], [149, "Decoded z"]]) {
      const { context, of } = recorder();
      const put = [];
      const scratch = { getContext: () => ({ putImageData: (image) => put.push(image) }) };
      drawImages(context, { x: 1, y: 30, width, height: 75 }, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8), [2, 2], 2, scratch, "#111111");
      assert.deepEqual([scratch.width, scratch.height], [4, 2]);
      assert.deepEqual(of("drawImage")[0].given, [scratch, 1, 30, width, 75]);
      assert.deepEqual([...put[0].data].filter((_, k) => k % 4 === 0), [1, 2, 5, 6, 3, 4, 7, 8]);
      assert.equal(of("fillText")[0].given[0], title);
    }
  } finally {
    delete globalThis.ImageData;
  }
  const { context, of } = recorder();
  drawTitle(context, "Title", { x: 3, y: 50 }, "#222222");
  assert.deepEqual([of("fillText")[0].given, of("fillText")[0].fill], [["Title", 3, 43], "#222222"]);
});
