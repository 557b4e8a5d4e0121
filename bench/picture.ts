import { writeFile } from 'node:fs/promises'
import { type Case, measure, type Settings } from './harness.js'
import type { Machine } from './machine.js'

/** Saves in a second by so many writers at a time. */
export interface Point {
  readonly writers: number
  readonly ours: number
  /** Without protection of the order, with as many connections as is fastest. */
  readonly raw: number
  /** One after the other, by a table lock. */
  readonly lock: number
}

/** What is drawn side by side. */
export interface Panel {
  readonly title: string
  readonly points: readonly Point[]
}

const writers = [1, 2, 4, 8, 16, 32]

const settings: Settings = { rounds: 5, slicesPerRound: 2, sliceMs: 60, turnsPerCaller: 16, warmUpMs: 200 }

/** Measures a panel. @param caseOf  The contest of so many writers; the last of its raw sides is the table lock. */
export async function measurePanel(title: string, caseOf: (writers: number) => Omit<Case, 'place'>): Promise<Panel> {
  const points: Point[] = []
  for (const count of writers) {
    const results = await measure({ ...caseOf(count), place: 'postgres' }, settings)
    const speeds = results.map(({ rawPerSecond }) => Math.round(rawPerSecond))
    const lock = speeds.pop()!
    points.push({ writers: count, ours: Math.round(results[0]!.oursPerSecond), raw: Math.max(...speeds), lock })
  }
  return { title, points }
}

/** What the picture was measured with. */
export function captionOf({ cpu, cores, versions }: Machine): string {
  const [server] = (versions.PostgreSQL ?? '').split(' ')
  return (
    `${cpu}, ${cores} cores, which the server shares; PostgreSQL ${server}, postgres.js ${versions.postgres}, ` +
    `Node ${versions.node}; medians of ${settings.rounds} rounds, measured by make bench`
  )
}

/** Draws the panels. @param caption  What they were measured with. */
export async function writePicture(file: URL, panels: readonly Panel[], caption: string): Promise<void> {
  await writeFile(file, svg(panels, caption))
}

const lines = [
  { name: 'ours, order protected by registered floors', of: (point: Point) => point.ours, color: '#0b6bcb', dash: '' },
  { name: 'by hand, order not protected', of: (point: Point) => point.raw, color: '#6b7280', dash: '7 4' },
  { name: 'by hand, order protected by a table lock', of: (point: Point) => point.lock, color: '#c2410c', dash: '2 3' },
] as const

const panelWidth = 440
const plot = { left: 72, top: 76, width: 342, height: 220 }
const height = 430

function svg(panels: readonly Panel[], caption: string): string {
  const width = panels.length * panelWidth
  const title = 'Saves per second over concurrent writers, PostgreSQL'
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${title}" font-family="system-ui, sans-serif" font-size="12" fill="#1f2937">
  <rect width="${width}" height="${height}" fill="#ffffff"/>
  ${text(20, 26, title, 'font-size="16" font-weight="600"')}
${panels.map((panel, index) => `  <g transform="translate(${index * panelWidth} 0)">\n${drawnPanel(panel)}\n  </g>`).join('\n')}
${lines.map(({ name, color, dash }, index) => legend(plot.left, 358 + 18 * index, name, color, dash)).join('\n')}
  ${text(20, 420, caption, 'font-size="11" fill="#4b5563"')}
</svg>
`
}

function drawnPanel({ title, points }: Panel): string {
  const { left, top, width, height } = plot
  const highest = roundUp(Math.max(...points.flatMap((point) => lines.map(({ of }) => of(point)))))
  const x = (index: number) => left + (index * width) / (points.length - 1)
  const y = (value: number) => top + height - (value * height) / highest
  const shares = [0, 0.25, 0.5, 0.75, 1].map((share) => share * highest)
  return [
    text(left, top - 18, title, 'font-weight="600"'),
    ...shares.map((value) => `<path d="M${left} ${round(y(value))}h${width}" stroke="#e5e7eb"/>`),
    ...shares.map((value) => text(left - 8, y(value) + 4, value.toLocaleString('en'), 'text-anchor="end"')),
    ...points.map(({ writers }, index) => text(x(index), top + height + 18, String(writers), 'text-anchor="middle"')),
    text(left + width / 2, top + height + 38, 'writers at a time', 'text-anchor="middle"'),
    text(14, top + height / 2, 'saves/s', `text-anchor="middle" transform="rotate(-90 14 ${top + height / 2})"`),
    ...lines.map(({ of, color, dash }) => {
      const path = points.map((point, index) => `${round(x(index))} ${round(y(of(point)))}`).join('L')
      return `<path d="M${path}" fill="none" stroke="${color}" stroke-width="2.5" stroke-dasharray="${dash}"/>`
    }),
    ...lines.flatMap(({ of, color }) =>
      points.map(
        (point, index) => `<circle cx="${round(x(index))}" cy="${round(y(of(point)))}" r="3.5" fill="${color}"/>`,
      ),
    ),
  ]
    .map((element) => `    ${element}`)
    .join('\n')
}

function legend(x: number, y: number, name: string, color: string, dash: string): string {
  const line = `<path d="M${x} ${y - 4}h28" stroke="${color}" stroke-width="2.5" stroke-dasharray="${dash}"/>`
  return `  ${line}\n  ${text(x + 36, y, name)}`
}

function text(x: number, y: number, content: string, attributes = ''): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return `<text x="${round(x)}" y="${round(y)}"${attributes && ` ${attributes}`}>${escaped}</text>`
}

/** To a number that four lines divide well: 1, 2, 4 or 8 times a power of ten. */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  return [1, 2, 4, 8, 10].map((factor) => factor * power).find((candidate) => candidate >= value)!
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
