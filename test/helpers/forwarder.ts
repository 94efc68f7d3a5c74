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
  /** Works again; what was kept back is lost, with its connections. */
  restore(): Promise<void>;
};

/** Forwards a port of its own to the server of `target`; closed with the test. */
export async function startForwarder(t: Test, target: string): Promise<Forwarder> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let stalled = false;
  const forward = (caller: Socket): void => {
    const server = connect(Number(port), hostname);
    for (const [from, to] of [[caller, server], [server, caller]] as const) {
      sockets.add(from);
      from.on('error', () => {}).on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      from.on('data', (data) => void (stalled || to.write(data)));
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
    async restore() {
      if (stalled) destroyAll();
      stalled = false;
      server ??= await listen(own);
    },
  };
}
