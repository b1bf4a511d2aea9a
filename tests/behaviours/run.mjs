// Runs the whole table against one server with one client version and one transport, and prints a line of JSON for
// each behaviour: {name, subject, ok, ms, error}.

import { parseArgs } from "node:util";

import { Context } from "./context.mjs";
import { table } from "./table.mjs";

const { values: options } = parseArgs({
  options: {
    client: { type: "string", default: "4" },
    transport: { type: "string", default: "upgrade" },
    parser: { type: "string", default: "json" },
    hosting: { type: "string", default: "fast" },
    server: { type: "string", default: "{}" }, // the line which server.py printed
    only: { type: "string" }, // names, with commas between
    list: { type: "boolean", default: false },
    concurrency: { type: "string", default: "8" },
    // Seconds for a behaviour: twenty clients that poll need a dozen where other tests have the processors.
    limit: { type: "string", default: "40" },
  },
});

if (options.list) {
  for (const { name, subject } of table) print({ name, subject });
  process.exit(0);
}

const { control, ports, paths, middleware } = JSON.parse(options.server);
const wanted = options.only?.split(",");
const waiting = table.filter(({ name }) => !wanted || wanted.includes(name));

process.on("unhandledRejection", (reason) => {
  console.error("unhandled rejection", reason);
  process.exitCode = 1;
});

await Promise.all(Array.from({ length: Number(options.concurrency) }, worker));
process.stdout.write("", () => process.exit());

async function worker() {
  for (let behaviour; (behaviour = waiting.shift());) print(await attempt(behaviour));
}

async function attempt({ name, subject, run }) {
  const context = new Context({
    client: Number(options.client),
    transport: options.transport,
    parser: options.parser,
    hosting: options.hosting,
    ports,
    paths,
    middleware,
    control,
  });
  const start = performance.now();
  let timer;
  const overdue = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${options.limit} s`)), options.limit * 1000);
  });
  let error = null;
  try {
    const done = run(context);
    done.catch(() => {}); // after the limit nobody listens any more
    await Promise.race([done, overdue]);
  } catch (reason) {
    error = describe(reason);
  } finally {
    clearTimeout(timer);
    context.close();
  }
  return { name, subject, ok: error === null, ms: Math.round(performance.now() - start), error };
}

// The message, and where in the table it was.
function describe(reason) {
  const place = reason?.stack?.split("\n").find((line) => line.includes("/subjects/"));
  const where = place ? ` (${place.replace(/^.*\/subjects\//, "").replace(/\)$/, "")})` : "";
  return `${reason?.message ?? reason}${where}`;
}

function print(record) {
  process.stdout.write(`${JSON.stringify(record)}\n`);
}
