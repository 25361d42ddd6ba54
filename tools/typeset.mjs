// Typesets formulas as MathJax would in the reader's browser, so that no page has to: `node typeset.mjs < pages.json > pages-typeset.json`.
//
// In: a list of pages, each a list of {tex, display} in the order of the page (a macro holds from its definition on).
// Out: for each page {formulas: [html], css}. Each formula is CHTML, whose letters are images to a screen reader, beside MathML that it
// reads. A formula that MathJax does not understand is returned as {error}.
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const require = createRequire(import.meta.url);
const FONTS = "FONTS"; // finish_pages.py puts each page's own path here
const UNDEFINED_IS_AN_ERROR = { "[-]": ["noundefined", "noerrors"] };

const MathJax = await require("mathjax").init({
  loader: { load: ["adaptors/liteDOM", "input/tex", "output/chtml", "a11y/assistive-mml"] },
  tex: { packages: UNDEFINED_IS_AN_ERROR, formatError: (_, error) => { throw error; } },
  chtml: { fontURL: FONTS, adaptiveCSS: true },
  startup: { typeset: false },
});
const { adaptor } = MathJax.startup;

async function typeset({ tex, display }) {
  try {
    return adaptor.outerHTML(await MathJax.tex2chtmlPromise(tex, { display }));
  } catch (error) {
    return { error: `${error.message}: ${tex}` };
  }
}

async function typesetPage(formulas) {
  MathJax.startup.document.outputJax.clearCache();
  MathJax.texReset();
  const done = [];
  for (const formula of formulas) done.push(await typeset(formula));
  return { formulas: done, css: adaptor.textContent(MathJax.chtmlStylesheet()) };
}

const pages = [];
for (const page of JSON.parse(await text(process.stdin))) pages.push(await typesetPage(page));
process.stdout.write(JSON.stringify(pages));
