import type { Socket } from 'node:net';
import { constants } from 'node:os';
import type { TLSSocket } from 'node:tls';

/** What Node keeps of a socket below its public surface. */
type Handle = { reading?: boolean; readStart?: () => number };

/**
 * Follows how a TLS connection ends. An end without `close_notify` is no end but a cut (RFC 8446 §6.1, RFC 9112 §9.8): an
 * answer that is over when its connection is must not be taken for whole then. Node reports both alike, so this looks at where
 * the end came from: at the moment at which it is told, TCP either still reads, and it was TLS that ended, or has ended itself.
 *
 * @param raw the socket beneath
 * @returns whether it has ended with `close_notify`; false as well where that cannot be told
 */
export function watchEnd(socket: TLSSocket, raw: Socket): () => boolean {
  const encrypted = handleOf(socket);
  const plain = handleOf(raw);
  const push = socket.push.bind(socket);
  let ended = false;
  let clean = false;
  socket.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    if (chunk === null && !ended) {
      ended = true;
      // Not reading, TCP cannot have told of its end; reading, it refuses to be started again until it has.
      clean = encrypted?.reading === false || plain?.readStart?.() === -constants.errno.EALREADY;
    }
    return push(chunk, encoding);
  };
  return () => clean;
}

function handleOf(socket: Socket): Handle | undefined {
  return (socket as Socket & { _handle?: Handle | null })._handle ?? undefined;
}
