// Ends a test file that does not end by itself: `node --import ./tests/js/limit.mjs --test …`. --test-timeout alone waits for a
// loop without an end, which never lets the timer run; this one runs in a thread of its own.
import { Worker } from "node:worker_threads";

const LIMIT_S = Number(process.env.JS_TEST_LIMIT_S ?? 300);

if (process.env.NODE_TEST_CONTEXT) { // a file's own process, and not the one that waits for all of them
  const watch = `setTimeout(() => {
    console.error("a test file did not end within ${LIMIT_S} s");
    process.kill(process.pid, "SIGKILL");
  }, ${1000 * LIMIT_S});`;
  new Worker(watch, { eval: true }).unref();
}
