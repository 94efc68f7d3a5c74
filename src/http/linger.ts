import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

/** How long, and how many bytes, what a client still sends after its last answer is read and discarded. */
const lingerMs = 5_000;
const lingerBytes = 16 * 1024 * 1024;

/**
 * To be called before Node hears that the last answer of a connection is out: closes one whose answer went out before all of its request had come in: sends FIN, then reads and discards
 * the rest of the body for at most 5 seconds and 16 MiB. A socket that is closed with unread bytes is reset, and a reset
 * takes from a client the answer that it has not read yet (RFC 9112 §9.6).
 */
export function lingerOnBody(socket: Socket, request: IncomingMessage): void {
  const close = closeWithin(socket);
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > lingerBytes) close();
  });
  request.once('end', close);
  // Node calls it after the last answer of a connection, to close it at once.
  socket.destroySoon = () => void socket.end();
  request.resume();
}

/** The same for a connection whose bytes are parsed no more; ends when the client closes its side too. */
export function linger(socket: Socket): void {
  const close = closeWithin(socket);
  let bytes = 0;
  socket.removeAllListeners('data');
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > lingerBytes) close();
  });
  socket.removeAllListeners('end');
  socket.once('end', close);
  socket.end();
  socket.resume();
}

function closeWithin(socket: Socket): () => void {
  const close = (): void => void socket.destroy();
  const timer = setTimeout(close, lingerMs);
  socket.once('close', () => clearTimeout(timer));
  return close;
}
