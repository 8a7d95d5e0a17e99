import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

/** The built site in a real browser. */

const docs = join(import.meta.dirname, "..");
const dist = join(docs, ".vitepress/dist");
const executablePath = ["/usr/bin/chromium", "/usr/bin/google-chrome"].find((path) => existsSync(path));
if (executablePath === undefined) console.log("skipped what needs a browser: apt-get install chromium");

const types: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};

/** Serves the files as a plain web server does, and nothing else. */
function serve(): Promise<Server> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const path = join(dist, decodeURIComponent(pathname.endsWith("/") ? `${pathname}index.html` : pathname));
    if (!path.startsWith(dist) || !existsSync(path)) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "content-type": types[extname(path)] ?? "application/octet-stream" });
    response.end(readFileSync(path));
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

describe.skipIf(executablePath === undefined)("the site", () => {
  let server: Server;
  let browser: Browser;
  let page: Page;
  let origin = "";
  const problems: string[] = [];

  beforeAll(async () => {
    await promisify(execFile)("pnpm", ["run", "site"], { cwd: docs, maxBuffer: 64 * 1024 * 1024 });
    server = await serve();
    const { port } = server.address() as AddressInfo;
    origin = `http://127.0.0.1:${port}`;
    browser = await chromium.launch({
      executablePath: executablePath ?? "",
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
      ],
    });
    page = await browser.newPage();
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("response", (response) => {
      if (response.status() >= 400) problems.push(`${response.status()} ${response.url()}`);
    });
    page.on("request", (request) => {
      if (!request.url().startsWith(origin) && !request.url().startsWith("data:"))
        problems.push(`asks for ${request.url()}`);
    });
  }, 400_000);

  afterAll(async () => {
    await browser?.close();
    server?.closeAllConnections();
    server?.close();
  });

  it("leads from the front page to the start, and on by its side bar", async () => {
    await page.goto(`${origin}/`);
    await page.getByRole("link", { name: "Start in 60 seconds" }).click();
    await page.waitForURL("**/start.html");
    await page
      .locator(".VPSidebar")
      .getByRole("link", { name: /Fencing|fencing/ })
      .first()
      .click();
    await page.waitForURL("**/fencing.html");
    expect(await page.locator("main h1").innerText()).toMatch(/fenc/i);
  });

  it("has the reference of every package, with units from the docstrings", async () => {
    await page.goto(`${origin}/api/`);
    for (const name of ["core", "postgres", "mysql", "mongodb", "gcs", "redis-streams", "conformance", "sql"])
      expect(await page.locator("main").innerText()).toContain(`@coord/${name}`);
    await page.goto(`${origin}/api/@coord/core/interfaces/CoordinatorOptions.html`);
    expect(await page.locator("main").innerText()).toContain("Refuse to acquire while this host's clock");
  });

  it("finds a word without asking any other server", async () => {
    await page.goto(`${origin}/start.html`);
    await page
      .getByRole("button", { name: /Search/ })
      .first()
      .click();
    await page.locator(".VPLocalSearchBox input").fill("COORD_LEASE_LOST");
    const first = page.locator(".VPLocalSearchBox .result").first();
    await first.waitFor();
    expect(await first.getAttribute("href")).toContain("errors");
  });

  it("fits a phone: nothing is wider than the screen, and the menu opens", async () => {
    const phone = await browser.newPage({ viewport: { width: 375, height: 720 } });
    for (const path of ["/", "/start.html", "/backends/", "/errors.html", "/guides/once.html"]) {
      await phone.goto(`${origin}${path}`);
      const width = await phone.evaluate(() => document.documentElement.scrollWidth);
      expect([path, width]).toEqual([path, 375]);
    }
    await phone.getByRole("button", { name: "Menu" }).click();
    expect(await phone.locator(".VPSidebar.open").isVisible()).toBe(true);
    await phone.close();
  });

  it("has no page that fails, misses a file or asks another server", () => {
    expect(problems).toEqual([]);
  });
});
