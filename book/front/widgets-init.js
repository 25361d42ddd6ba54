// Tells require.js where this book keeps the widgets' code, so that none of it is asked for elsewhere, and lends it MathJax.
// Runs on pages with widgets, after require.js and before the widget manager.
(() => {
  const root = document.documentElement.dataset.content_root || "./";
  requirejs.config({
    paths: {
      anywidget: `${root}_static/vendor/anywidget/index`,
      "@jupyter-widgets/html-manager/dist": `${root}_static/vendor/html-manager`,
    },
  });

  // The widget manager typesets labels in the manner of MathJax 2; this page has MathJax 3.
  const typeset = ([, , node]) => window.MathJax.typesetPromise?.([node]);
  window.MathJax ??= {};
  window.MathJax.Hub = { Queue: typeset };
})();
