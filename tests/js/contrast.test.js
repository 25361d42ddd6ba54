import assert from "node:assert/strict";
import { test } from "node:test";
import { channels, luminance, onPaper } from "../../vae_lib/widgets/contrast.js";

const COLORS = ["#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"];
const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);

test("black on white stands out by 21 to 1, as the guideline defines it", () => {
  assert.ok(Math.abs(contrast(luminance(channels("#ffffff")), luminance(channels("#000000"))) - 21) < 1e-9);
  assert.ok(Math.abs(contrast(luminance(channels("#ffffff")), luminance(channels("#767676"))) - 4.54) < 0.01);
});

test("on a dark page every digit's colour stands out, and those that did stay what they are", () => {
  const paper = "#14181e";
  const shown = onPaper(COLORS, paper);
  const before = COLORS.map((color) => contrast(luminance(channels(color)), luminance(channels(paper))));
  assert.ok(before.some((value) => value < 4.4));
  shown.forEach((color, digit) => {
    assert.ok(contrast(luminance(channels(color)), luminance(channels(paper))) > 4.4, `${digit}: ${color}`);
    if (before[digit] >= 4.5) assert.equal(color, COLORS[digit]);
  });
  assert.equal(new Set(shown).size, COLORS.length);
});

test("on a white page nothing changes", () => assert.equal(onPaper(COLORS, "white"), COLORS));
