import { Problem } from '../errors.js';
import type { ActionDirectory, KnownActions } from '../upstream/action-directory.js';
import { type ActionIndex, type Callable, indexActions, type Match } from './action-index.js';

/** What an action resolves to, and the rule that chose it. */
export type Resolution = Readonly<{ match: Match | undefined; rule: string }>;

/** What is asked: path is the provider's, starting with a slash, without a query; `given` the caller's own action id. */
export type ActionQuestion = { platform: string; method: string; path: string; given: string | undefined };

/** Finds the action of a call; a promise only where the platform's actions are not in memory. */
export type ResolveAction = (question: ActionQuestion) => Resolution | Promise<Resolution>;

const guideForm: Resolution = { match: undefined, rule: 'no action fits: the guide\'s form' };
const turnedOff: Resolution = { match: undefined, rule: 'ACTION_RESOLUTION=off: the guide\'s form' };
const unknown: Resolution = { match: undefined, rule: 'the upstream\'s actions are not known: the guide\'s form' };

/** How long a call waits for actions that are not in memory yet; they are fetched to the end all the same. */
const firstLookupMs = 3_000;

/**
 * Resolves native paths; in the guide's form where the platform's actions do not come within three seconds or `timeoutMs`.
 * A caller's own action id counts only when it is of the platform and of the request's method, else 422 `action_mismatch`:
 * the upstream loads an action by id alone, and a foreign one would send this platform's credential to another's host. That
 * is checked with `mode` off too; 504 `upstream_timeout` where it cannot be within `timeoutMs`.
 */
export function createActionResolver(directory: ActionDirectory, mode: 'auto' | 'off', timeoutMs: number): ResolveAction {
  const indexes = new WeakMap<KnownActions, ActionIndex>();
  const indexOf = (known: KnownActions): ActionIndex => {
    const index = indexes.get(known) ?? indexActions(known.actions);
    indexes.set(known, index);
    return index;
  };
  const resolve = (known: KnownActions, { method, path }: ActionQuestion): Resolution => {
    if (known.error) return unknown;
    const match = indexOf(known).match(method, path);
    return match ? { match, rule: match.action.path + match.how } : guideForm;
  };

  const resolveOwn = (known: KnownActions, { given, method, path }: ActionQuestion): Resolution => {
    const index = indexOf(known);
    const action = own(index.byId(given!), method);
    return { match: { action, path: index.ownPath(action, path), how: '' }, rule: 'the caller\'s action id' };
  };

  return (question) => {
    if (question.given === undefined && mode === 'off') return turnedOff;
    const known = directory.read(question.platform);
    if (question.given !== undefined) {
      if (!(known instanceof Promise || known.error)) return resolveOwn(known, question);
      return within(timeoutMs, directory.require(question.platform)).then((loaded) => {
        if (loaded) return resolveOwn(loaded, question);
        throw new Problem('upstream_timeout', 'The upstream did not tell the platform\'s actions in time.');
      });
    }
    if (!(known instanceof Promise)) return resolve(known, question);
    return within(Math.min(firstLookupMs, timeoutMs), known).then((loaded) => (loaded ? resolve(loaded, question) : unknown));
  };
}

/** What a promise gives, or undefined when that takes too long. */
async function within<T>(milliseconds: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => void (timer = setTimeout(() => resolve(undefined), milliseconds)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function own(action: Callable | undefined, method: string): Callable {
  if (action?.method === method) return action;
  throw new Problem('action_mismatch', action ? `The action is a ${action.method}, the request a ${method}.` : 'The platform has no action with this id.', {
    errors: [{ field: 'header.x-pica-action-id', message: 'must be an action of the platform and of the request\'s method' }],
  });
}
