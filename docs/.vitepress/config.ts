import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vitepress";

const docs = join(import.meta.dirname, "..");

interface Item {
  text: string;
  link?: string;
  items?: Item[];
  collapsed?: boolean;
}

/** A page as the side bar names it: by its first heading. */
function page(path: string): Item {
  const [, heading] = /^# (.+)$/m.exec(readFileSync(join(docs, `${path}.md`), "utf8")) ?? [];
  if (heading === undefined) throw new Error(`docs/${path}.md has no heading "# …"`);
  return { text: heading.replaceAll(/[`*]/g, ""), link: `/${path}` };
}

/** The pages of a folder by their file names; those given come first. */
function folder(name: string, first: readonly string[] = []): Item[] {
  const rest = readdirSync(join(docs, name))
    .filter((file) => file.endsWith(".md"))
    .map((file) => file.slice(0, -3))
    .filter((file) => file !== "index" && !first.includes(file));
  return [...first, ...rest].map((file) => page(`${name}/${file}`));
}

/** The reference of one package, as it was generated from its docstrings. */
function reference(path: string): Item[] {
  return readdirSync(join(docs, path), { withFileTypes: true })
    .filter(({ name }) => name !== "README.md")
    .flatMap((entry): Item[] => {
      const { name } = entry;
      if (!entry.isDirectory()) return [{ text: name.slice(0, -3), link: `/${path}/${name.slice(0, -3)}` }];
      const items = reference(`${path}/${name}`);
      const link = existsSync(join(docs, path, name, "README.md")) ? { link: `/${path}/${name}/` } : {};
      return [{ text: name, ...link, items, collapsed: true }];
    });
}

const apiItems = existsSync(join(docs, "api/@coord")) ? reference("api/@coord") : [];

export default defineConfig({
  title: "coord",
  description: "Locks that can be trusted with money: leases with fencing tokens on the database you have.",
  lang: "en",
  srcExclude: ["node_modules/**", "test/**", ".blocks/**"],
  rewrites: { "api/:path(.*)/README.md": "api/:path/index.md", "api/README.md": "api/index.md" },
  markdown: {
    // Links into the repository (examples, packages) lead to files that are no pages: here they are plain text.
    config(md) {
      md.core.ruler.before("inline", "links-out", (state) => {
        for (const token of state.tokens)
          if (token.type === "inline")
            token.content = token.content.replaceAll(
              /\[([^\]]*)\]\((?:\.\.\/)+(?:packages|examples|bench|simulation|demo|newcomer|test-fixtures|[A-Z]\w+\.md)[^)]*\)/g,
              "$1",
            );
      });
    },
  },
  lastUpdated: false,
  themeConfig: {
    search: { provider: "local" },
    outline: [2, 3],
    nav: [
      { text: "Start", link: "/start" },
      { text: "Guides", link: "/guides/once" },
      { text: "Backends", link: "/backends/" },
      { text: "Operations", link: "/operations" },
      { text: "API", link: "/api/" },
    ],
    sidebar: {
      "/api/": [{ text: "API reference", link: "/api/", items: apiItems }],
      "/": [
        { text: "Begin", items: ["start", "fencing", "choosing-a-ttl", "failure-modes"].map(page) },
        { text: "Guides", items: folder("guides", ["once", "election"]) },
        {
          text: "Backends",
          items: [
            ...["backends/index"].map(page),
            ...folder("backends"),
            page("custom-backend"),
            page("moving"),
          ],
        },
        { text: "At night", items: ["operations", "errors"].map(page) },
        { text: "Coming from", items: folder("migrating") },
        { text: "Measured", items: ["benchmarks"].map(page) },
        { text: "Decisions", collapsed: true, items: folder("adr") },
      ],
    },
  },
});
