import { Problem } from '../errors.js';

/** 409: another identity has this key stored. */
export function ownedByOther(): Problem {
  return new Problem('connection_owned_by_other', 'This connection key belongs to another identity.');
}

/** 403: not this identity's to claim. One text for every reason: a claim must not tell which keys exist. */
export function claimRejected(): Problem {
  return new Problem('connection_claim_rejected', 'The vault has no such connection of this identity.');
}
