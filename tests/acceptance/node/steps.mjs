// One line of JSON for each step on standard output; then the test has its turn, until it sends a line.
import { createInterface } from 'node:readline'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

export function tell (seen) {
  process.stdout.write(JSON.stringify(seen) + '\n')
}

export async function pause () {
  await lines.next()
}
