import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { HttpError } from './errors.js';
import { fieldName, isFieldValue } from './fields.js';

/** A body that comes as a stream; `trailers` (names and values, read at its end) follow it where it is sent chunked. */
export type StreamedBody = Readable & { readonly trailers?: readonly string[] };

/** Told how an upload goes on. */
export type UploadListener = {
  /** Something was written, or all of it was. */
  onUploading(): void;
  onUploadFailed(error: Error): void;
};

/**
 * A stream on its way into a request's body: with a length, which it has to keep to exactly (RFC 9112 §6.2), or chunked
 * (§7.1). It goes as fast as the socket takes it. A stream that was not begun can be sent by another upload.
 */
export class Upload {
  /** All of it was written. */
  done = false;
  #socket: Socket | undefined;
  #listener: UploadListener | undefined;
  #bytes = 0;

  constructor(private readonly body: StreamedBody, private readonly length: number | undefined) {
    // It may fail long before or after it is sent, when nobody else listens.
    body.on('error', ignore);
  }

  /** Whether the other side, and not the stream, is who is waited for. */
  get blocked(): boolean {
    return this.#socket?.writableNeedDrain === true;
  }

  start(socket: Socket, listener: UploadListener): void {
    const { body } = this;
    if (body.errored) return listener.onUploadFailed(body.errored);
    if (body.destroyed || body.readableEnded) return listener.onUploadFailed(closed());
    this.#socket = socket;
    this.#listener = listener;
    body.on('data', this.#onData).on('end', this.#onEnd).on('error', this.#onError).on('close', this.#onClose);
  }

  /** The socket takes more. */
  drained(): void {
    if (!this.#listener) return;
    this.#listener.onUploading();
    this.body.resume();
  }

  /** Sends no more; a stream that was begun is of no more use. */
  stop(): void {
    if (!this.#listener) return;
    this.#leave();
    this.body.destroy();
  }

  #leave(): void {
    this.#listener = undefined;
    this.body.off('data', this.#onData).off('end', this.#onEnd).off('error', this.#onError).off('close', this.#onClose);
  }

  readonly #onData = (chunk: Buffer): void => {
    const socket = this.#socket!;
    this.#bytes += chunk.length;
    if (this.length !== undefined && this.#bytes > this.length) return this.#fail(mismatch());
    if (chunk.length === 0) return;
    if (this.length === undefined) {
      socket.cork();
      socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1');
      socket.write(chunk);
      socket.write('\r\n', 'latin1');
      socket.uncork();
    } else {
      socket.write(chunk);
    }
    this.#listener?.onUploading();
    if (socket.writableNeedDrain) this.body.pause();
  };

  readonly #onEnd = (): void => {
    if (this.length !== undefined && this.#bytes !== this.length) return this.#fail(mismatch());
    if (this.length === undefined) this.#socket!.write(`0\r\n${trailerSection(this.body.trailers ?? [])}\r\n`, 'latin1');
    const listener = this.#listener;
    this.done = true;
    this.#leave();
    listener?.onUploading();
  };

  readonly #onError = (error: Error): void => this.#fail(error);

  // A stream that breaks closes before it says why.
  readonly #onClose = (): void => queueMicrotask(() => this.#fail(this.body.errored ?? closed()));

  #fail(error: Error): void {
    const listener = this.#listener;
    if (!listener) return;
    this.#leave();
    this.body.destroy();
    listener.onUploadFailed(error);
  }
}

/** Field lines after a chunked body (RFC 9112 §7.1.2); what is none is left out: the request is under way already. */
function trailerSection(trailers: readonly string[]): string {
  let text = '';
  for (let i = 0; i < trailers.length; i += 2) {
    const name = fieldName(trailers[i]!);
    if (name?.kind === 'plain' && isFieldValue(trailers[i + 1]!)) text += `${name.text}: ${trailers[i + 1]!}\r\n`;
  }
  return text;
}

function ignore(): void {}

function closed(): HttpError {
  return new HttpError('aborted', 'the body closed before its end');
}

function mismatch(): HttpError {
  return new HttpError('aborted', 'the body has not the length that was said');
}
