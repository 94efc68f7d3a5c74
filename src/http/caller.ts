import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

const key = Symbol('caller');

/** One client connection: what stands in line on it, and when it last took something. */
export class Caller {
  /** The answer to the newest request; undefined before the first. */
  last: ServerResponse | undefined;
  /** Requests that were begun before their turn. */
  ahead = 0;
  /** Requests that wait for their turn. */
  waiting = 0;
  /** Nothing more is served on it: its last answer has been chosen. */
  over = false;
  #taken = 0;
  #takenAt = 0;

  constructor(readonly socket: Socket) {
    (socket as Keyed)[key] = this;
  }

  /** Whether no answer is owed on it. Part of a request's head may have come. */
  get idle(): boolean {
    return this.waiting === 0 && (this.last === undefined || this.last.writableFinished);
  }

  /** Whether bytes of an answer wait and the client has taken none for `ms`; to be asked again and again. */
  hasStalled(now: number, ms: number): boolean {
    const { socket } = this;
    const taken = bytesTaken(socket);
    if (socket.writableLength === 0 || taken !== this.#taken) {
      this.#taken = taken;
      this.#takenAt = now;
      return false;
    }
    return now - this.#takenAt >= ms;
  }
}

type Keyed = Socket & { [key]?: Caller };

/** The connection that a request came on. */
export function callerOf({ socket }: Pick<IncomingMessage, 'socket'>): Caller {
  return (socket as Keyed)[key]!;
}

/** Bytes that the system took of what was written: of a large write that is under way, Node itself tells only its handle. */
function bytesTaken(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { _handle?: { bytesWritten: number; writeQueueSize: number } | null };
  return handle ? handle.bytesWritten - handle.writeQueueSize : socket.bytesWritten - socket.writableLength;
}
