import type { Problem } from '../errors.js';

/** What was last seen of the upstream; `ok`: it answered, and not to refuse our secret. */
export type Seen = 'never asked' | 'ok' | 'unauthorized' | 'unreachable';

/** Told of every answer, and of every call without one. */
export type NoteSeen = (seen: Exclude<Seen, 'never asked'>) => void;

/** Remembers what was last seen, and since when nothing else was. */
export type LastSeen = { note: NoteSeen; last(): Readonly<{ seen: Seen; since: Date | undefined }> };

/** Nothing was seen yet. */
export function createLastSeen(): LastSeen {
  let last: ReturnType<LastSeen['last']> = { seen: 'never asked', since: undefined };
  return {
    note(seen) {
      if (seen !== last.seen) last = { seen, since: new Date() };
    },
    last: () => last,
  };
}

/** What a call that ended in a problem shows of the upstream. */
export function seenIn({ code }: Problem): Parameters<NoteSeen>[0] {
  if (code === 'upstream_unauthorized') return 'unauthorized';
  return code === 'upstream_unreachable' || code === 'upstream_timeout' ? 'unreachable' : 'ok';
}
