import { connect, createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

/** A way to another server that a test can break. */
export type Forwarder = {
  /** The target's URL, by this way. */
  url: string;
  /** Ends every connection and refuses new ones. */
  cut(): Promise<void>;
  /** Keeps connections, accepts new ones, and lets no byte of an answer through. */
  stall(): void;
  /** Keeps answers back, to be given on in one piece by `flush`. */
  hold(): void;
  /** Resolves once `enough` says so of the bytes kept back. */
  held(enough: (bytes: Buffer) => boolean): Promise<void>;
  flush(): void;
  /** Works again; what was kept back is lost, with its connections. */
  restore(): Promise<void>;
};

/** Forwards a port of its own to the server of `target`; closed with the test. */
export async function startForwarder(t: Test, target: string): Promise<Forwarder> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let stalled = false;
  let holding = false;
  const kept = new Map<Socket, Buffer[]>();
  let keptMore = (): void => {};
  const forward = (caller: Socket): void => {
    const server = connect(Number(port), hostname);
    for (const [from, to] of [[caller, server], [server, caller]] as const) {
      sockets.add(from);
      from.on('error', () => {}).on('close', () => void sockets.delete(from));
      from.on('data', (data) => {
        if (stalled) return;
        if (!holding || from === caller) return void to.write(data);
        kept.set(to, [...(kept.get(to) ?? []), data]);
        keptMore();
      });
      // What a server says last must not overtake its end.
      from.on('close', () => (from === server && holding ? undefined : to.destroy()));
    }
  };
  const destroyAll = (): void => sockets.forEach((socket) => void socket.destroy());
  const listen = (at: number): Promise<Server> => new Promise((resolve) => {
    const server = createServer(forward).listen(at, '127.0.0.1', () => resolve(server));
  });

  let server: Server | undefined = await listen(0);
  const own = (server.address() as AddressInfo).port;
  const cut = async (): Promise<void> => {
    const closed = new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
    server = undefined;
    destroyAll();
    await closed;
  };
  t.teardown(cut);
  const url = new URL(target);
  url.host = `127.0.0.1:${own}`;
  return {
    url: url.href,
    cut,
    stall: () => void (stalled = true),
    hold: () => void (holding = true),
    held: (enough) => new Promise((resolve) => {
      keptMore = () => void (enough(Buffer.concat([...kept.values()].flat())) && resolve());
      keptMore();
    }),
    flush() {
      holding = false;
      for (const [socket, chunks] of kept) socket.write(Buffer.concat(chunks));
      kept.clear();
    },
    async restore() {
      if (stalled) destroyAll();
      stalled = false;
      server ??= await listen(own);
    },
  };
}
