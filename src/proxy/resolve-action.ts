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

/**
 * Resolves native paths. A caller's own action id counts only when it is of the platform and of the request's method, else
 * 422 `action_mismatch`: the upstream loads an action by id alone, and a foreign one would send this platform's credential
 * to another's host. That is checked with `mode` off too.
 */
export function createActionResolver(directory: ActionDirectory, mode: 'auto' | 'off'): ResolveAction {
  const indexes = new WeakMap<KnownActions, ActionIndex>();
  const indexOf = (known: KnownActions): ActionIndex => {
    const index = indexes.get(known) ?? indexActions(known.actions);
    indexes.set(known, index);
    return index;
  };
  const resolve = (known: KnownActions, { method, path }: ActionQuestion): Resolution => {
    if (known.error) return unknown;
    const match = indexOf(known).match(method, path);
    return match ? { match, rule: match.prefix ? `${match.action.path}, without its leading ${match.prefix}` : match.action.path } : guideForm;
  };

  return (question) => {
    if (question.given !== undefined) return directory.require(question.platform).then((known) => own(indexOf(known).byId(question.given!), question.method));
    if (mode === 'off') return turnedOff;
    const known = directory.read(question.platform);
    return known instanceof Promise ? known.then((loaded) => resolve(loaded, question)) : resolve(known, question);
  };
}

function own(action: Callable | undefined, method: string): Resolution {
  if (action?.method === method) return { match: { action, prefix: '' }, rule: 'the caller\'s action id' };
  throw new Problem('action_mismatch', action ? `The action is a ${action.method}, the request a ${method}.` : 'The platform has no action with this id.', {
    errors: [{ field: 'header.x-pica-action-id', message: 'must be an action of the platform and of the request\'s method' }],
  });
}
