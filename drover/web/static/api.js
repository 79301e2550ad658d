// Calls of REST routes. URLs are built from the origin: a page opened as http://user:token@host/ has credentials
// in its own URL, and browsers refuse to fetch anything relative to such a URL.

export class Refused extends Error {}

export const address = (path) => new URL(path, location.origin);

/** Calls a route and returns its JSON; an incomplete cleanup returns its report, all other errors throw. */
export async function call(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  const response = await reach(path, options);
  const answer = await response.json();
  if (!response.ok && !("killed" in answer)) throw new Refused(answer.error);
  return answer;
}

/** Returns a screenshot of a session's page; a session that has just died is not recovered for it. */
export async function picture(sessionId) {
  const response = await reach(`/sessions/${encodeURIComponent(sessionId)}/screenshot?recover=false`, {
    signal: AbortSignal.timeout(10_000),
  });
  if (!response.ok) throw new Refused((await response.json()).error);
  return response.blob();
}

async function reach(path, options) {
  try {
    return await fetch(address(path), options);
  } catch (error) {
    throw new Refused("Drover does not answer. Check that it is running.", { cause: error });
  }
}
