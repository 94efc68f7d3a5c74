import { type DestinationStream, type Logger, pino } from 'pino';
import { standardOutput } from './standard-output.js';

/**
 * The process's logger. What it prints is an allow-list: request lines are built field by field (request-log.ts) and errors
 * are cut to type, message and stack with every known secret masked, so no header, body or URL can slip in.
 *
 * @param secrets values that must never be printed; each occurrence in any text logged becomes `[secret]`.
 */
export function createLogger(level: string, secrets: readonly string[], destination?: DestinationStream): Logger {
  const mask = masker(secrets);
  const maskText = remembering(mask);
  return pino({
    level,
    base: undefined,
    timestamp: isoTime,
    serializers: {
      err: (error: unknown) => describeError(error, mask),
      // Nobody logs these whole: a header or URL may carry a credential.
      req: () => undefined,
      res: () => undefined,
    },
    hooks: {
      logMethod(args: unknown[], method) {
        const [first] = args;
        const error = first instanceof Error ? first : (first as { err?: unknown } | undefined)?.err;
        // Where no text is given pino takes the error's.
        if (args.length === 1 && error instanceof Error) args.push(error.message);
        method.apply(this, args.map((each) => (typeof each === 'string' ? maskText(each) : each)) as Parameters<typeof method>);
      },
    },
  }, destination ?? standardOutput());
}

// Many lines are of one millisecond; writing its date out costs as much as the rest of a line.
let written = { at: 0, text: '' };
function isoTime(): string {
  const at = Date.now();
  if (at !== written.at) written = { at, text: `,"time":"${new Date(at).toISOString()}"` };
  return written.text;
}

// Our own keys and upstream connection keys have a form of their own, so they are caught even where nobody listed them.
const secretForms = /ag[ks]_[A-Za-z0-9]{8,}|whsec_[A-Za-z0-9+/=]{8,}|eyJ[\w-]+\.[\w-]+\.[\w-]*|sk_(?:test|live)_[\w-]+|(?:test|live)::[\w-]+::[^\s"'`,;]+/g;

/** What must not be printed of a URL with credentials: the whole of it, and its password as it is written and as it is sent. */
export function secretsOfUrl(url: string | undefined): string[] {
  if (url === undefined) return [];
  // By hand: a Postgres URL with several hosts, or with none beside a user, is no URL to the WHATWG parser.
  const written = [/^\w+:\/\/[^/?#:]*:([^/?#]*)@/.exec(url)?.[1], /[?&]password=([^&#]*)/.exec(url)?.[1]].filter((password) => password !== undefined);
  return [url, ...written.flatMap((password) => {
    try {
      return [password, decodeURIComponent(password)];
    } catch {
      return [password];
    }
  })];
}

/** The same for texts that mostly repeat: what was found clean is not searched again. */
function remembering(mask: (text: string) => string): (text: string) => string {
  const clean = new Set<string>();
  return (text) => {
    if (clean.has(text)) return text;
    const masked = mask(text);
    if (masked === text && clean.size < 1_000) clean.add(text);
    return masked;
  };
}

/** Returns a function that masks the given secrets, and anything of a secret's form, in a text. */
export function masker(secrets: readonly string[]): (text: string) => string {
  const known = secrets.filter((secret) => secret.length > 0);
  return (text) => known.reduce((masked, secret) => masked.replaceAll(secret, '[secret]'), text).replace(secretForms, '[secret]');
}

function describeError(error: unknown, mask: (text: string) => string, depth = 0): unknown {
  if (!(error instanceof Error)) return { message: mask(textOf(error)) };
  const { details } = error as { details?: object };
  return {
    type: error.name,
    code: (error as { code?: unknown }).code,
    message: mask(error.message),
    stack: mask(error.stack ?? ''),
    ...(details ? { details: masked(details, mask) } : {}),
    ...(error.cause && depth < 3 ? { cause: describeError(error.cause, mask, depth + 1) } : {}),
  };
}

/** Members that an error of ours carries for the log; plain ones only. */
function masked(details: object, mask: (text: string) => string): object {
  const plain: Record<string, string | number> = {};
  for (const [name, value] of Object.entries(details)) {
    if (typeof value === 'string') plain[name] = mask(value);
    else if (typeof value === 'number') plain[name] = value;
  }
  return plain;
}

/** What was thrown and is no Error, in a few words. */
function textOf(thrown: unknown): string {
  if (typeof thrown !== 'object' || thrown === null) return String(thrown);
  const { message, code } = thrown as { message?: unknown; code?: unknown };
  const said = [message, code].filter((each) => typeof each === 'string').join(' ');
  return said === '' ? `an object with ${Object.keys(thrown).join(', ') || 'no members'}` : said;
}
