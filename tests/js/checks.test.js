import assert from "node:assert/strict";
import { test } from "node:test";
import { demand, finiteNumber, finiteNumbers, hexColors, imageShape, wholeNumber } from "../../vae_lib/widgets/checks.js";

const says = (check, text) => assert.throws(check, (error) => error instanceof Error && error.message === text);

test("what is as demanded passes; else it is said what was expected and what came", () => {
  demand(1, "one", 1);
  says(() => demand(false, "a list", { a: 1 }), 'expected a list, got {"a":1}');
  says(() => demand(0, "a number", NaN), "expected a number, got NaN");
  says(() => demand(undefined, "anything", undefined), "expected anything, got undefined");
  says(() => demand(null, "bytes", "8 bytes"), "expected bytes, got 8 bytes");
});

test("whole numbers: both ends belong to the range, fractions and texts do not", () => {
  for (const value of [2, 3, 5]) assert.equal(wholeNumber("side", value, 2, 5), value);
  for (const value of [1, 6, 2.5, "3", null, NaN, Infinity, undefined, [3]]) {
    assert.throws(() => wholeNumber("side", value, 2, 5), /^Error: expected a whole number from 2 to 5 as side, got /);
  }
  assert.throws(() => wholeNumber("side", 0), /from 1 to 1000000 as side, got 0/);
  assert.throws(() => wholeNumber("side", 1e6 + 1), /got 1000001/);
});

test("finite numbers, alone and in lists", () => {
  assert.equal(finiteNumber("mu", -1e300), -1e300);
  assert.equal(finiteNumber("mu", 0, 0, 1), 0);
  assert.equal(finiteNumber("mu", 1, 0, 1), 1);
  says(() => finiteNumber("mu", null), "expected a finite number as mu, got null");
  says(() => finiteNumber("mu", "1"), "expected a finite number as mu, got 1");
  says(() => finiteNumber("mu", -Infinity), "expected a finite number as mu, got -Infinity");
  says(() => finiteNumber("mu", -0.1, 0), "expected a finite number of at least 0 as mu, got -0.1");
  says(() => finiteNumber("mu", 1.1, 0, 1), "expected a finite number from 0 to 1 as mu, got 1.1");
  const list = [1, -2.5];
  assert.equal(finiteNumbers("eps", list), list);
  assert.equal(finiteNumbers("eps", list, 2), list);
  says(() => finiteNumbers("eps", list, 3), "expected 3 finite numbers as eps, got [1,-2.5]");
  for (const value of [[1, null], [NaN], ["1"], null, { length: 0 }, "12"]) assert.throws(() => finiteNumbers("eps", value), /finite numbers as eps/);
});

test("shapes of images and colours", () => {
  const shape = [28, 27];
  assert.equal(imageShape(shape), shape);
  assert.equal(imageShape(shape, 756), shape);
  says(() => imageShape(shape, 784), "expected an image shape of 784 pixels, got [28,27]");
  for (const bad of [[28], [28, 28, 1], [28.5, 2], [0, 4], [-2, -2], [1, 4097], [4097, 1], ["2", 2], null, {}, "22"]) {
    assert.throws(() => imageShape(bad), /expected an image shape/);
  }
  for (const bad of [[20, 28], [30, 28]]) assert.throws(() => imageShape(bad, 784), /of 784 pixels/);
  const colors = ["#00ffAA", "#123456"];
  assert.equal(hexColors(colors), colors);
  for (const bad of [[], ["red"], ["#12345"], ["#1234567"], ["#123456", null], "#123456", null]) assert.throws(() => hexColors(bad), /colours as #rrggbb/);
});
