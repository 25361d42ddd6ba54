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

test("a colour is changed no more than it needs, and stays a colour of six digits", () => {
  for (const paper of ["#14181e", "#000000", "#123456"]) {
    const ground = luminance(channels(paper));
    onPaper(["#0000ff", "#05fafa", "#001000", "#ff0000"], paper).forEach((color) => assert.match(color, /^#[0-9a-f]{6}$/));
    const needy = onPaper(["#0000ff", "#400040", "#001000"], paper).map((color) => contrast(luminance(channels(color)), ground));
    for (const value of needy) assert.ok(value > 4.4 && value < 5.2, `${paper}: ${value}`);
  }
});

test("on paper too bright for any colour to stand out, the search for one ends", () => {
  for (const paper of ["#ffffff", "#c0c0c0"]) {
    for (const color of onPaper(["#000000", "#3f90da"], paper)) assert.ok(luminance(channels(color)) > 0.97, color); // white, as nearly as it gets
  }
});

test("each channel counts as much as the guideline says", () => {
  for (const [color, weight] of [["#ff0000", 0.2126], ["#00ff00", 0.7152], ["#0000ff", 0.0722]]) assert.ok(Math.abs(luminance(channels(color)) - weight) < 1e-12);
  assert.ok(Math.abs(luminance(channels("#0a0a0a")) - 10 / 255 / 12.92) < 1e-12); // below the knee it is a straight line
});
