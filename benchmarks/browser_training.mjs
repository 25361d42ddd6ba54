// Times the widget's training in this machine's Node, whose engine is Chromium's: {pixels, hidden, batch, images, seconds} as JSON in, figures out.
import { Training } from "../vae_lib/widgets/browser_training_maths.js";
import { gridOf } from "../vae_lib/widgets/browser_training_record.js";

const { pixels, hidden, batch, images, rounds } = JSON.parse(process.argv[2]);
const grey = Float32Array.from({ length: images * pixels }, (_, i) => (i * 7919) % 100 < 23 ? ((i * 104729) % 16) / 15 : 0); // as many zeros as MNIST
const training = new Training({ images: grey, pixels, hidden, batch, seed: 0 });
const settings = { learningRate: 0.005, beta: 1, noise: 1 };
const points = gridOf(Array.from({ length: 9 }, (_, i) => i / 4 - 1));
const codes = new Float32Array(2 * images);
const levels = new Uint8ClampedArray((points.length / 2) * pixels);
const timed = (count, work) => {
  const times = Array.from({ length: rounds }, () => {
    const start = performance.now();
    for (let i = 0; i < count; i++) work();
    return (performance.now() - start) / count;
  }).sort((a, b) => a - b);
  return { median: times[rounds >> 1], fastest: times[0] };
};
const step = () => training.step(settings);
const picture = () => (training.encodeAll(codes), training.decodeAll(points, levels));
timed(50, step); // the engine compiles what is hot
timed(5, picture);
console.log(JSON.stringify({ step: timed(50, step), picture: timed(5, picture) }));
