import { lookup as systemLookup, type LookupAddress } from 'node:dns';
import { connect as connectPlain, isIP, type Socket, type TcpNetConnectOpts } from 'node:net';
import { connect as connectSecure, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { watchEnd } from './tls-end.js';

/** A connection that is ready to be written to. */
export type Wire = {
  socket: Socket;
  /** Whether the other side has ended it as its protocol asks, so that its end may be that of an answer. */
  endedCleanly(): boolean;
};

/** Opens a connection; one of the two is called once, later. The returned function gives up, and nothing is called then. */
export type Dial = (connected: (wire: Wire) => void, failed: (error: Error) => void) => () => void;

/** How to reach the other side, where that is not the usual way. */
export type DialOptions = {
  tls?: Pick<ConnectionOptions, 'ca'> | undefined;
  /** All addresses of a name. */
  lookup?: ((name: string, done: (error: Error | null, addresses: LookupAddress[]) => void) => void) | undefined;
  /** A socket on its way to an address. */
  open?: ((options: TcpNetConnectOpts) => Socket) | undefined;
};

/** An address has this long before the next is tried beside it (RFC 8305 §5). */
const attemptDelayMs = 250;
/** An address that failed, or lost to a later one, is tried last for so long. */
const slowMs = 60_000;
const rememberedSlow = 100;
/** Probes of the operating system for whether the other side is still there, beyond this silence. */
const probeAfterMs = 60_000;

/**
 * Dials one origin. Names are looked up for every connection, and their addresses tried in turn, the families alternating;
 * each goes on beside the next (RFC 8305): a dead address costs a quarter of a second, and a slow one is waited for. Node's own
 * `autoSelectFamily` ends an attempt after that time, which leaves nothing where the one address that works is slow.
 *
 * @param origin `http:` or `https:`; a path is ignored
 */
export function createDialer(origin: URL, { tls, lookup = lookupAll, open = connectPlain }: DialOptions = {}): Dial {
  const name = origin.hostname.replace(/^\[(.*)\]$/, '$1');
  const secure = origin.protocol === 'https:';
  const port = Number(origin.port) || (secure ? 443 : 80);
  // RFC 6066 §3: an address is no server name.
  const secureOptions = { ...tls, host: name, port, servername: isIP(name) ? '' : name, ALPNProtocols: ['http/1.1'] };
  const slow = new Map<string, number>();
  let session: Buffer | undefined;

  function noteSlow(address: string): void {
    if (slow.size >= rememberedSlow) slow.clear();
    slow.set(address, performance.now() + slowMs);
  }

  function inOrder(addresses: readonly LookupAddress[]): LookupAddress[] {
    const now = performance.now();
    const isSlow = ({ address }: LookupAddress): boolean => (slow.get(address) ?? 0) > now;
    const alternating = alternate(addresses);
    return [...alternating.filter((each) => !isSlow(each)), ...alternating.filter(isSlow)];
  }

  function handshake(raw: Socket, connected: (wire: Wire) => void, failed: (error: Error) => void): TLSSocket {
    const socket = connectSecure({ ...secureOptions, socket: raw, ...(session ? { session } : {}) });
    const onClose = (): void => failed(new Error('the connection closed during the TLS handshake'));
    return socket.on('session', (fresh: Buffer) => (session = fresh)).once('error', failed).once('close', onClose).once('secureConnect', () => {
      socket.off('error', failed).off('close', onClose);
      connected({ socket, endedCleanly: watchEnd(socket, raw) });
    });
  }

  return (connected, failed) => {
    const trying = new Map<Socket, string>();
    const errors: Error[] = [];
    let queue: LookupAddress[] = [];
    let timer: NodeJS.Timeout | undefined;
    let over = false;

    if (isIP(name)) begin([{ address: name, family: isIP(name) }]);
    else lookup(name, (error, addresses) => (error ? fail(error) : begin(addresses)));
    return giveUp;

    function begin(addresses: readonly LookupAddress[]): void {
      if (over) return;
      queue = inOrder(addresses);
      if (queue.length === 0) fail(new Error('the name has no address'));
      else next();
    }

    function next(): void {
      clearTimeout(timer);
      const { address, family } = queue.shift()!;
      const socket = open({ host: address, port, family, highWaterMark: 64 * 1024 } as TcpNetConnectOpts);
      trying.set(socket.setNoDelay(true).setKeepAlive(true, probeAfterMs).unref(), address);
      socket.once('connect', () => {
        if (!trying.delete(socket)) return;
        socket.removeAllListeners('error').removeAllListeners('connect');
        for (const other of trying.values()) noteSlow(other);
        won(socket);
      }).on('error', (error) => {
        if (!trying.delete(socket) || over) return;
        noteSlow(address);
        errors.push(error);
        if (queue.length > 0) next();
        else if (trying.size === 0) fail(errors[0]!);
      });
      if (queue.length > 0) timer = setTimeout(next, attemptDelayMs).unref();
    }

    function won(socket: Socket): void {
      stop();
      if (!secure) return finish(() => connected({ socket, endedCleanly: always }));
      // What happens to it shows on the other.
      socket.on('error', ignore);
      const encrypted = handshake(socket, (wire) => finish(() => {
        trying.clear();
        connected(wire);
      }), fail);
      trying.set(encrypted, name);
    }

    function fail(error: Error): void {
      finish(() => {
        stop();
        failed(error);
      });
    }

    function finish(tell: () => void): void {
      if (over) return;
      over = true;
      tell();
    }

    function giveUp(): void {
      over = true;
      stop();
    }

    function stop(): void {
      clearTimeout(timer);
      queue = [];
      const open = [...trying.keys()];
      trying.clear();
      for (const socket of open) socket.on('error', ignore).destroy();
    }
  };
}

function lookupAll(name: string, done: (error: Error | null, addresses: LookupAddress[]) => void): void {
  systemLookup(name, { all: true }, done);
}

/** Families in turn (RFC 8305 §4), the one that the system put first in front. */
function alternate(addresses: readonly LookupAddress[]): LookupAddress[] {
  const first = addresses.filter(({ family }) => family === addresses[0]!.family);
  const others = addresses.filter(({ family }) => family !== addresses[0]!.family);
  const both: LookupAddress[] = [];
  for (let i = 0; i < Math.max(first.length, others.length); i += 1) both.push(...first.slice(i, i + 1), ...others.slice(i, i + 1));
  return both;
}

function always(): boolean {
  return true;
}

function ignore(): void {}
