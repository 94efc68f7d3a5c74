import type { ServerResponse } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Problem } from '../errors.js';
import { invalidResponse, problemForFailure } from '../upstream/errors.js';
import { type NoteSeen, seenIn } from '../upstream/last-seen.js';
import { HttpError, InvalidRequest, type Passthrough, type PassthroughCall } from '../upstream/passthrough.js';
import { isRefusal, reportUnfinished } from './answers.js';
import { Attempt, type AttemptListener } from './attempt.js';
import type { AttemptResult, Circuits } from './circuit.js';
import type { Outcome, ProxyMetrics } from './metrics.js';
import { headerValue } from './header-names.js';
import type { Recorder } from './idempotency.js';
import { passInformation } from './information.js';
import { OwnAnswer } from './own-answer.js';
import { SecretFilter } from './quoted-secrets.js';
import { type ResponseHead, responseHead, responseTrailers } from './response-headers.js';
import { releaseLater } from './release.js';
import { decideRetry, type Failure, type RetryBudget, type RetryDecision } from './retry.js';
import { serverTiming } from './server-timing.js';
import { Silence } from './silence.js';

/**
 * A first chunk of at most this size waits for the end of the parser's run, so that header and body leave in one write. Upstreams
 * often send the header of a short answer before its body: it waits for that for a moment.
 */
const heldBytes = 16 * 1024;
/** How long an answer that is certainly the upstream's own is read for what it says of the failure. */
const examinedMs = 1_000;

/** What is sent, over which connection, of which platform, whose that is, and what no answer to it may quote. */
export type RelayCall = PassthroughCall & { connectionId: string; platform: string; owner: string; secrets: readonly string[] };

/** What relaying a call takes; `timeoutMs` is the time to response headers, retries included. */
export type RelayDependencies = {
  passthrough: Passthrough;
  circuits: Circuits;
  retryBudget: RetryBudget;
  metrics: Pick<ProxyMetrics, 'decided'>;
  timeoutMs: number;
  /** Calls `end` when the request's credential is no longer live; the returned function stops that. */
  watch(request: FastifyRequest, end: (problem: Problem) => void): () => void;
  /** Told which connection a provider, and not the upstream, answered 401 or 403 to. */
  noteRefusal(connectionId: string): void;
  /** Asks the vault about a connection that the upstream answered 404 to. Rejects with a problem that says more than that answer. */
  confirmConnection(connectionId: string): Promise<void>;
  /** Told what was seen of the upstream. */
  noteSeen: NoteSeen;
  /** Headers of ours that hooks may have set by then. */
  ownHeaders: readonly string[];
};

/**
 * One call: sends it, again where that is safe and of use, and writes the answer to the caller's socket as it arrives,
 * past Fastify's serializer. A reader slower than the provider pauses it; a caller that goes away ends the call. Failures
 * before the first byte become problems, later ones break the answer off so that it cannot be taken for whole.
 */
export class Relay implements AttemptListener {
  attempts = 0;
  /** Who answered, as far as is known yet. */
  outcome: Outcome = 'gateway';
  /** What of the call's time was ours: not that of waiting for the caller's body, nor for the upstream. */
  ownMs = 0;
  #lookupMs = 0;
  readonly #authMs: number;
  readonly #queued: boolean;
  readonly #response: ServerResponse;
  #started = 0;
  #call: RelayCall | undefined;
  #attempt: Attempt | undefined;
  #recorder: Recorder | undefined;
  #settling: Promise<void> | undefined;
  /** The upstream turned the call away itself: no provider has seen it. */
  #turnedAway = false;
  /** The attempt is to show whether the upstream answers again. */
  #probe = false;
  #retry: NodeJS.Timeout | undefined;
  /** A kept connection had been closed: others may have been with it. */
  #metStale = false;
  #resume: () => void = () => {};
  #head: ResponseHead | undefined;
  #status = 0;
  /** The upstream's own answer, while it may be its error document. */
  #examined: OwnAnswer | undefined;
  /** Ends the reading of an answer that is certainly the upstream's own. */
  #patience: Silence | undefined;
  /** Of an answer or an upload that goes on. */
  #unwatch: (() => void) | undefined;
  /** Follows the body of the upstream's own answer. */
  #filter: SecretFilter | undefined;
  #held: Buffer | undefined;
  #headSent = false;
  #listensForDrain = false;
  #over = false;

  /** @param ended called once, when nothing more will happen */
  constructor(
    private readonly dependencies: RelayDependencies,
    private readonly request: FastifyRequest,
    private readonly reply: FastifyReply,
    private readonly ended: () => void,
  ) {
    this.#response = reply.raw;
    this.#authMs = reply.elapsedTime;
    this.#response.on('close', this.#onCallerGone);
    // An answer that waits for the one before it on its connection does not hear of the connection's end.
    this.#queued = !this.#response.socket;
    // They are as many as stand in line, and no leak, which Node would warn of.
    if (this.#queued) request.raw.socket.setMaxListeners(0).on('close', this.#onCallerGone);
  }

  get over(): boolean {
    return this.#over;
  }

  /** The connection and the action are known; for server-timing. */
  planned(): void {
    this.ownMs = this.reply.elapsedTime;
    this.#lookupMs = this.ownMs - this.#authMs;
  }

  /** @param recorder follows the call where its answer is kept; what is known of it counts as kept before the caller has all of it */
  send(call: RelayCall, recorder?: Recorder): void {
    if (this.#over) return void recorder?.abandon(false);
    this.#call = call;
    this.#recorder = recorder;
    this.#started = this.reply.elapsedTime;
    if (call.body !== null && !Buffer.isBuffer(call.body)) this.#watch();
    this.dependencies.retryBudget.call();
    this.#try();
  }

  /** Leaves the answer to somebody else. */
  leave(): void {
    this.#finish();
  }

  /** Answers with a problem where nothing was answered yet, and breaks the answer off otherwise. */
  fail(error: unknown): void {
    if (this.#over) return;
    if (this.#headSent) {
      this.outcome = 'broken_off';
      this.#finish();
      // To HTTP/1.0 the connection's end is the body's: only a reset tells that more should have come.
      if (this.request.raw.httpVersion === '1.0') this.request.raw.socket.resetAndDestroy();
      else this.#response.destroy();
      return reportUnfinished(this.#response);
    }
    this.#finish();
    if (this.attempts > 0) void this.reply.header('x-authkit-attempts', this.attempts);
    void this.reply.header('server-timing', this.#timing());
    if (this.#settling) void this.#settling.then(() => this.reply.send(error));
    else void this.reply.send(error);
  }

  /** Ends a call that has lasted too long, whatever it is doing. */
  expire(): void {
    const during = 'The call lasted longer than calls may (PROXY_MAX_DURATION_MS).';
    this.#stop(new Problem(this.attempts === 0 ? 'request_timeout' : 'upstream_timeout', during));
  }

  readonly #stop = (problem: Problem): void => {
    if (this.#over) return;
    const waiting = this.#attempt && !this.#head && !this.#retry;
    this.#attempt?.cancel();
    if (waiting) this.#report('ignored');
    this.fail(problem);
  };

  /** Ends with the request's credential from now on. */
  #watch(): void {
    this.#unwatch ??= this.dependencies.watch(this.request, this.#stop);
  }

  onInformation(status: number, rawHeaders: string[]): void {
    passInformation(this.#response, status, rawHeaders, this.#call!.secrets);
  }

  onAnswer(status: number, rawHeaders: string[], resume: () => void): void {
    this.#report('answered');
    this.request.upstreamMs = this.#elapsed();
    const { secrets, connectionId } = this.#call!;
    const head = responseHead(status, rawHeaders, secrets);
    if (head.withheld) this.request.log.warn({ headers: head.withheld }, 'headers of an answer quoted a credential and were withheld');
    if (status >= 400) {
      const { retry, waitMs } = this.#decide({ status, retryAfter: headerValue(head.headers, 'retry-after') });
      if (retry) return this.#tryLater(waitMs);
      if (!head.fromProvider) this.#examine(new OwnAnswer(status, head, secrets));
      else if (isRefusal(status)) this.dependencies.noteRefusal(connectionId);
    }
    if (!this.#examined) this.dependencies.noteSeen('ok');
    if (!head.fromProvider) this.#filter = new SecretFilter(secrets);
    this.#recorder?.head(status, head.headers);
    this.outcome = head.fromProvider ? 'provider' : 'upstream';
    this.#status = status;
    this.#head = head;
    this.#resume = resume;
    if (!this.#examined) releaseLater(this, head.contentLength !== undefined && head.contentLength <= heldBytes);
  }

  onChunk(chunk: Buffer): boolean {
    if (this.#examined) return this.#read(chunk);
    if (!this.#filter) return this.#take(chunk);
    const passed = this.#filter.pass(chunk);
    if (passed === undefined) return this.#stopQuoting();
    return passed.length === 0 || this.#take(passed);
  }

  onEnd(rawTrailers: string[]): void {
    if (this.#examined) {
      this.#patience?.end();
      const problem = this.#examined.problem();
      // What a connection gets that was deleted upstream. The answer to a HEAD has no body that could tell who spoke.
      if (this.#status === 404 && (problem || this.#call!.method === 'HEAD')) return this.#confirm(problem, rawTrailers);
      if (problem) return this.#turnAway(problem);
    }
    this.#complete(rawTrailers);
  }

  /** Fails with what the vault says of the connection; where it says nothing new, with `problem`, or passes the answer on. */
  #confirm(problem: Problem | undefined, rawTrailers: string[]): void {
    this.dependencies.confirmConnection(this.#call!.connectionId).catch((error: unknown) => {
      if (error instanceof Problem && !error.code.startsWith('upstream_')) return error;
      return undefined;
    }).then((found) => {
      const failure = found ?? problem;
      if (failure) this.#turnAway(failure);
      else this.#complete(rawTrailers);
    }).catch((error: unknown) => this.fail(error));
  }

  #complete(rawTrailers: string[]): void {
    if (this.#over) return;
    if (this.#examined) this.#passExamined();
    const rest = this.#filter?.rest();
    if (rest?.length) this.#take(rest);
    if (this.#over) return;
    const recorder = this.#recorder;
    this.#recorder = undefined;
    if (!recorder) return this.#end(rawTrailers);
    const answered = this.reply.elapsedTime;
    void recorder.end().then(() => {
      this.ownMs += this.reply.elapsedTime - answered;
      this.#end(rawTrailers);
    });
  }

  onFailure(error: Error): void {
    if (this.#examined?.certain) return this.#turnAway(this.#examined.problem()!);
    if (this.#head) return this.fail(problemForFailure(error));
    this.request.upstreamMs = this.#elapsed();
    this.#report(resultOf(error));
    if (this.#over || error instanceof Problem || error instanceof InvalidRequest) return this.fail(error);
    const problem = problemForFailure(error);
    if (!(error instanceof HttpError)) return this.fail(problem);
    this.dependencies.noteSeen(seenIn(problem));
    const { kind, stale } = error;
    this.#metStale ||= stale;
    const { retry, waitMs } = this.#decide({ kind, sent: this.#attempt!.sent, stale });
    if (retry) this.#tryLater(waitMs);
    else this.fail(problem);
  }

  #end(rawTrailers: string[]): void {
    if (this.#over) return;
    this.#finish();
    const whole = !this.#headSent;
    if (whole) this.#sendHead();
    if (rawTrailers.length > 0) this.#response.addTrailers(responseTrailers(rawTrailers, this.#call!.secrets));
    if (whole && this.#held) this.#writeWhole(this.#held);
    else this.#response.end(this.#held);
  }

  /** As text, Node joins head and body into one plain write, which costs half of a gathered one; `end` alone would gather. */
  #writeWhole(body: Buffer): void {
    const { socket } = this.#response;
    socket?.cork();
    this.#response.write(body.toString('latin1'), 'latin1');
    socket?.uncork();
    this.#response.end();
  }

  #try(): void {
    this.#retry = undefined;
    const { circuits, passthrough, timeoutMs } = this.dependencies;
    const call = this.#call!;
    try {
      this.#probe = circuits.admit(call.owner, call.platform);
    } catch (problem) {
      return this.fail(problem);
    }
    this.attempts += 1;
    this.#attempt = new Attempt(this);
    const again = this.attempts === 1 ? undefined : { headersTimeoutMs: Math.max(1, timeoutMs - this.#elapsed()), fresh: this.#metStale };
    passthrough.send(call, this.#attempt, again);
  }

  #tryLater(waitMs: number): void {
    this.#attempt!.discard();
    this.#retry = setTimeout(() => this.#try(), waitMs);
  }

  #report(result: AttemptResult): void {
    const { owner, platform } = this.#call!;
    this.dependencies.circuits.report(result, owner, platform, this.#probe);
  }

  #decide(failure: Failure): RetryDecision {
    const { method, body } = this.#call!;
    const { retryBudget, timeoutMs, metrics } = this.dependencies;
    const remainingMs = timeoutMs - this.#elapsed();
    const decision = decideRetry({ ...failure, method, hasBody: body !== null, attempts: this.attempts, remainingMs }, retryBudget);
    if (decision.reason === 'final_status') return decision;
    metrics.decided(decision);
    this.request.log.debug({ attempt: this.attempts, failure, ...decision }, 'an attempt failed');
    return decision;
  }

  #elapsed(): number {
    return this.reply.elapsedTime - this.#started;
  }

  /** Reads what may be the upstream's error document: it becomes a problem of ours, so that the caller knows who spoke. */
  #examine(answer: OwnAnswer): void {
    this.#examined = answer;
    if (answer.certain) this.#patience = new Silence(examinedMs, () => this.#stopReading());
  }

  #read(chunk: Buffer): boolean {
    const examined = this.#examined!;
    if (examined.add(chunk)) return true;
    if (examined.certain) {
      this.#stopReading();
      return true;
    }
    this.#passExamined();
    return this.onChunk(chunk);
  }

  /** What has been read of the upstream's refusal must do. */
  #stopReading(): void {
    this.#attempt!.discard();
    this.#turnAway(this.#examined!.problem()!);
  }

  #passExamined(): void {
    const chunks = this.#examined!.chunks();
    this.#examined = undefined;
    this.dependencies.noteSeen('ok');
    for (const chunk of chunks) {
      if (!this.#over) this.onChunk(chunk);
    }
  }

  /** The upstream refused the call itself. */
  #turnAway(problem: Problem): void {
    this.#examined = undefined;
    this.#turnedAway = this.#status < 500;
    this.dependencies.noteSeen(seenIn(problem));
    this.fail(problem);
  }

  /** Ends an answer of the upstream's own that quotes a secret; what comes before it may have left. */
  #stopQuoting(): boolean {
    this.#attempt!.discard();
    this.fail(invalidResponse('it quotes a credential'));
    return true;
  }

  #take(chunk: Buffer): boolean {
    this.#recorder?.chunk(chunk);
    if (!this.#headSent && !this.#held && chunk.length <= heldBytes) {
      this.#held = chunk;
      return true;
    }
    return this.#write(chunk);
  }

  #write(chunk: Buffer): boolean {
    if (!this.#headSent) this.#flush();
    if (this.#response.write(chunk)) return true;
    if (!this.#listensForDrain) {
      this.#listensForDrain = true;
      this.#response.on('drain', () => this.#resume());
    }
    return false;
  }

  /** Sends what is known of an answer that did not end in the run of the parser that began it. */
  release(): void {
    if (this.#over || this.#headSent) return;
    this.#flush();
    // Without a body yet, an event stream's headers would wait for its first event. As Latin-1: flushHeaders() would write them in UTF-8.
    this.#response.write('', 'latin1');
  }

  #flush(): void {
    this.#watch();
    this.#sendHead();
    if (this.#held) this.#response.write(this.#held);
    this.#held = undefined;
  }

  #sendHead(): void {
    this.#headSent = true;
    const headers = this.withOwn(this.#head!.headers);
    this.reply.hijack();
    this.#response.writeHead(this.#status, headers);
  }

  /** Adds our headers to a provider's, and returns them: those of hooks, and what is known of the call. */
  withOwn(headers: string[]): string[] {
    for (const name of this.dependencies.ownHeaders) {
      const value = this.reply.getHeader(name);
      if (value !== undefined) headers.push(name, String(value));
    }
    headers.push('x-authkit-attempts', String(this.attempts), 'server-timing', this.#timing());
    return headers;
  }

  #timing(): string {
    return serverTiming(this.#authMs, this.#lookupMs, this.request.upstreamMs);
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#retry) clearTimeout(this.#retry);
    this.#patience?.end();
    this.#unwatch?.();
    this.#response.off('close', this.#onCallerGone);
    if (this.#queued) this.request.raw.socket.off('close', this.#onCallerGone);
    this.#settling = this.#recorder?.abandon(this.#attempt !== undefined && this.#attempt.sent && !this.#turnedAway);
    this.ended();
  }

  readonly #onCallerGone = (): void => {
    if (this.#over) return;
    if (this.attempts > 0 && !this.#head) this.request.upstreamMs = this.#elapsed();
    const waiting = this.#attempt && !this.#head && !this.#retry;
    this.outcome = 'caller_gone';
    this.#finish();
    reportUnfinished(this.#response);
    this.#attempt?.cancel();
    if (waiting) this.#report('ignored');
  };
}

/** What a failure before the answer's head says of the upstream. */
function resultOf(error: Error): AttemptResult {
  // A kept connection that was closed says nothing of the upstream, nor does what ended on this side.
  if (!(error instanceof HttpError) || error.stale || error.kind === 'aborted') return 'ignored';
  if (error.kind === 'protocol') return 'answered';
  return error.unheard ? 'unheard' : 'failed';
}
