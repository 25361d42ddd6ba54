// Colours that stand out from a dark page. No page, no widget.

/** Red, green and blue of "#rrggbb", from 0 to 1. */
export const channels = (color) => [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16) / 255);

/** Relative luminance of such channels, 0 to 1 (WCAG 2.2). */
export function luminance(rgb) {
  const [red, green, blue] = rgb.map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

const LEAST = 4.5; // to 1; points are painted half transparent, which costs some of it

/** The colours as they are on a white page; on a dark one, paper "#rrggbb", each mixed with white until it stands out from it. */
export function onPaper(colors, paper) {
  if (!/^#[0-9a-f]{6}$/i.test(paper)) return colors;
  const ground = luminance(channels(paper)) + 0.05;
  return colors.map((color) => {
    let rgb = channels(color);
    // after 80 steps it is white to within a level; a paper that is bright itself leaves no more contrast than that
    for (let i = 0; i < 80 && (luminance(rgb) + 0.05) / ground < LEAST; i++) rgb = rgb.map((value) => value + (1 - value) / 16);
    return `#${rgb.map((value) => Math.round(255 * value).toString(16).padStart(2, "0")).join("")}`;
  });
}
