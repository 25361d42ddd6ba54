// Checks of what arrives in a widget's state. No page, no widget: Node tests them as they are.

/** Throw an Error that says what was expected and what came, unless the condition holds. */
export function demand(condition, wanted, got) {
  if (!condition) throw new Error(`expected ${wanted}, got ${typeof got === "object" ? JSON.stringify(got) : got}`);
}

/** A whole number from least to most, as it came. */
export function wholeNumber(name, value, least = 1, most = 1e6) {
  demand(Number.isInteger(value) && value >= least && value <= most, `a whole number from ${least} to ${most} as ${name}`, value);
  return value;
}

/** A finite number from least to most, as it came. */
export function finiteNumber(name, value, least = -Infinity, most = Infinity) {
  const range = least === -Infinity && most === Infinity ? "" : most === Infinity ? ` of at least ${least}` : ` from ${least} to ${most}`;
  demand(Number.isFinite(value) && value >= least && value <= most, `a finite number${range} as ${name}`, value);
  return value;
}

/** A list of finite numbers, of a length if one is given, as it came. */
export function finiteNumbers(name, values, length = null) {
  const many = length === null ? "" : `${length} `;
  const right = Array.isArray(values) && (length === null || values.length === length) && values.every(Number.isFinite);
  demand(right, `${many}finite numbers as ${name}`, values);
  return values;
}

/** The [height, width] of an image in whole pixels, as it came; of so many pixels, if that is given. */
export function imageShape(shape, pixels = null) {
  const right = Array.isArray(shape) && shape.length === 2 && shape.every((side) => Number.isInteger(side) && side >= 1 && side <= 4096);
  const many = pixels === null ? "" : ` of ${pixels} pixels`;
  demand(right && (pixels === null || shape[0] * shape[1] === pixels), `an image shape${many}`, shape);
  return shape;
}

/** Colours "#rrggbb", one at least, as they came. */
export function hexColors(colors) {
  const right = Array.isArray(colors) && colors.length > 0 && colors.every((color) => /^#[0-9a-f]{6}$/i.test(color));
  demand(right, "colours as #rrggbb, one at least", colors);
  return colors;
}
