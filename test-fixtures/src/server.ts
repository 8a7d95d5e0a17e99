/** Where a server came from: a URL in the environment, this machine, or a container engine. */
export type Provider = "environment" | "native" | "containers";

/** What a test can do to the server as a whole; what happens on the wire is the proxy's business. */
export interface Faults {
  /** Freezes every process of the server: connections stay open, nothing answers. */
  readonly pause: () => Promise<void>;
  /** Undoes `pause`. */
  readonly resume: () => Promise<void>;
  /** `kill -9` of every process, also of a paused server; resolves when all are gone. */
  readonly kill: () => Promise<void>;
  /** `kill`, then a start on the same address with the same data; resolves when the server answers. */
  readonly restart: () => Promise<void>;
}

/** One of the servers of a cluster. */
export interface ServerNode {
  readonly url: string;
  /** Not there where the nodes share one container. */
  readonly faults?: Faults;
}

/** A real server that belongs to the test that started it. */
export interface Server {
  readonly url: string;
  readonly provider: Provider;
  /** As the server itself reports it, such as `18.4`; `unknown` when it would only tell after a login. */
  readonly version: string;
  /** Not there for a server from the environment: it is not ours to kill. */
  readonly faults?: Faults;
  /** The members of a cluster, one by one; `url` is then the first's and `faults` strike all of them. */
  readonly nodes?: readonly ServerNode[];
  /** What differs between the ways to get the same kind of server. */
  readonly capabilities: Readonly<Record<string, boolean>>;
  /** Ends the server and removes its data; harmless when repeated. */
  readonly stop: () => Promise<void>;
}

/** Why a provider cannot give a server here: the next provider is asked, and the reasons are shown if none can. */
export class FixtureMissing extends Error {
  override readonly name = "FixtureMissing";
}
