// Stands in for sanitize-html in widgets.js: no label of this book holds HTML, so whatever looks like it is shown as text.
const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

export default function plainText(text) {
  return String(text).replace(/[&<>"']/g, (character) => ENTITIES[character]);
}
