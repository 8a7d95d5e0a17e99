/** Draws what happened as two columns, one a process, along the time. */
const colours = process.stdout.isTTY && process.env["NO_COLOR"] === undefined;
const paint = (code: number, text: string): string => (colours ? `\u001B[${code}m${text}\u001B[0m` : text);

export const red = (text: string): string => paint(31, text);
export const green = (text: string): string => paint(32, text);
export const yellow = (text: string): string => paint(33, text);
export const bold = (text: string): string => paint(1, text);
const dim = (text: string): string => paint(2, text);

const columnWidth = 44;

export interface Timeline {
  at(worker: string, text: string, colour?: (text: string) => string): void;
}

export function timeline(workers: readonly string[], print: (line: string) => void): Timeline {
  const began = performance.now();
  print(`${" ".repeat(8)}${workers.map((worker) => bold(worker.padEnd(columnWidth))).join("")}`);
  return {
    at(worker, text, colour = (plain) => plain) {
      const seconds = ((performance.now() - began) / 1000).toFixed(2).padStart(5);
      const indent = " ".repeat(columnWidth * workers.indexOf(worker));
      print(`${dim(`${seconds} s`)} ${indent}${colour(text)}`);
    },
  };
}

/** A fence as people can compare it: the end of it, where two of one run differ. */
export const shortFence = (fence: string | bigint): string => `…${String(fence).slice(-7)}`;
