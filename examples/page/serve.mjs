// Serves this page and the built client. Any static server would do.
//
//     node serve.mjs http://127.0.0.1:8080 [port]
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const [, , server, port = "8090"] = process.argv;
const here = new URL("./", import.meta.url);
const client = new URL("../../clients/typescript/dist/", here);
const kinds = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8" };

const serving = createServer(async (request, response) => {
  const { pathname, search } = new URL(request.url, "http://here");
  if (pathname === "/" && search === "" && server) {
    response.writeHead(302, { location: `/?server=${encodeURIComponent(server)}` });
    return response.end();
  }
  const name = pathname === "/" ? "index.html" : pathname.slice(1);
  // Names of files alone: nothing else of this machine can be read.
  const file = /^(?:(client)\/)?([a-z-]+\.(html|js))$/.exec(name);
  try {
    if (!file) throw new Error("no such name");
    const text = await readFile(new URL(file[2], file[1] ? client : here));
    response.writeHead(200, { "content-type": kinds[file[3]] });
    response.end(text);
  } catch {
    response.writeHead(404);
    response.end("there is nothing here\n");
  }
});
serving.on("error", (error) => {
  console.error(`port ${port} cannot be used: ${error.message}; stop what holds it`);
  process.exit(75);
});
serving.listen(Number(port), "127.0.0.1", () => console.log(`open http://127.0.0.1:${serving.address().port}/`));
