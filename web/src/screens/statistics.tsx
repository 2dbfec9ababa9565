import "uplot/dist/uPlot.min.css";

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";

import { withQuery } from "../lib/api";
import { filled, HOUR_MS } from "../lib/hours";
import { useLive } from "../lib/live";
import { place } from "../lib/route";
import type { Hour, Webhook } from "../lib/types";
import { can } from "../lib/who";
import { bytes, figure } from "../lib/words";
import { Empty, Facts, Loading, Problem } from "../parts/basics";
import { Select } from "../parts/filters";

const SPANS: Record<string, number> = { "": 24, "7d": 168, "30d": 720 };

export function Statistics({ webhook }: { webhook: Webhook }): JSX.Element {
  const hours = SPANS[place.value.query.get("span") ?? ""] ?? 24;
  // Whole hours, so that the path stays the same and is asked for again.
  const since = new Date(Math.floor(Date.now() / HOUR_MS) * HOUR_MS - (hours - 1) * HOUR_MS).toISOString();
  const path = can("events:read") ? withQuery(`/api/webhooks/${webhook.id}/stats`, { since }) : undefined;
  const { data, error } = useLive<{ data: Hour[] }>(path, 10_000);
  if (path === undefined) return <p class="faint">This token may not read statistics: it lacks the scope events:read.</p>;
  return (
    <>
      <div class="filters">
        <Select
          name="span"
          label="Time"
          options={[
            ["", "24 hours"],
            ["7d", "7 days"],
            ["30d", "30 days"],
          ]}
        />
      </div>
      <Problem error={error} />
      {!data && !error && <Loading what="statistics" />}
      {data && (data.data.length === 0 ? <Empty title="No attempts in this time" /> : <Charts since={Date.parse(since)} count={hours} hours={data.data} />)}
    </>
  );
}

function Charts({ hours, since, count }: { hours: Hour[]; since: number; count: number }): JSX.Element {
  const series = filled(hours, since, count);
  const sum = (of: (hour: Hour) => number): number => hours.reduce((total, hour) => total + of(hour), 0);
  const attempts = sum((hour) => hour.attempts);
  const delivered = sum((hour) => hour.delivered);
  const mean = attempts ? sum((hour) => hour.latency_mean_ms * hour.attempts) / attempts : 0;
  return (
    <>
      <Facts
        rows={[
          ["Attempts", figure(attempts)],
          ["Delivered", figure(delivered)],
          ["Given up", figure(sum((hour) => hour.failed))],
          ["Answer time, mean", `${figure(Math.round(mean))} ms`],
          ["Answer time, longest", `${figure(Math.max(...hours.map((hour) => hour.latency_max_ms)))} ms`],
          ["Sent", bytes(sum((hour) => hour.body_bytes))],
        ]}
      />
      <Chart
        title="Attempts per hour"
        times={series.times}
        unit=""
        bars={[
          { label: "Given up", color: "--bad", values: series.failed },
          { label: "Tried again", color: "--warn", values: series.others },
          { label: "Delivered", color: "--good", values: series.delivered },
        ]}
      />
      <Chart title="Mean answer time" times={series.times} unit=" ms" bars={[{ label: "Mean", color: "--accent", values: series.latency }]} />
      <details class="card">
        <summary>The figures as a table</summary>
        <Table hours={hours} />
      </details>
    </>
  );
}

interface Bars {
  label: string;
  color: string;
  values: (number | null)[];
}

interface ChartProps {
  title: string;
  times: number[];
  /** The last is at the bottom, and the others stand on it. */
  bars: Bars[];
  unit: string;
}

const HEIGHT = 220;

/** Bars that stand on each other: the first is as high as all together, and the next ones are drawn over it. */
function stacked(bars: Bars[]): (number | null)[][] {
  return bars.map((_, first) =>
    (bars[0]?.values ?? []).map((__, at) => bars.slice(first).reduce<number | null>((sum, { values }) => add(sum, values[at] ?? null), null)),
  );
}

const add = (a: number | null, b: number | null): number | null => (a === null ? b : a + (b ?? 0));

function Chart({ title, times, bars, unit }: ChartProps): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const newest = useRef({ bars, times });
  newest.current = { bars, times };

  useEffect(() => {
    const place = box.current;
    if (!place) return undefined;
    const data = (): uPlot.AlignedData => [newest.current.times, ...stacked(newest.current.bars)];
    const draw = (): void => {
      plot.current?.destroy();
      plot.current = new uPlot(options(place.clientWidth, newest.current.bars, (of, at) => newest.current.bars[of]?.values[at] ?? null, unit), data(), place);
    };
    draw();
    const sized = new ResizeObserver(() => plot.current?.setSize({ width: place.clientWidth, height: HEIGHT }));
    sized.observe(place);
    const scheme = window.matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", draw);
    return () => {
      sized.disconnect();
      scheme.removeEventListener("change", draw);
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [unit]);
  useEffect(() => {
    plot.current?.setData([times, ...stacked(bars)]);
  });
  return (
    <figure class="card chart">
      <figcaption>{title}</figcaption>
      <div ref={box} role="img" aria-label={`${title}. The table below has the figures.`} />
    </figure>
  );
}

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

function tickWords(seconds: number): string {
  const at = new Date(seconds * 1000);
  return at.getHours() === 0 && at.getMinutes() === 0 ? DAY.format(at) : CLOCK.format(at);
}

function options(width: number, bars: Bars[], valueAt: (bar: number, at: number) => number | null, unit: string): uPlot.Options {
  const color = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(`${name}-solid`);
  const axis = { stroke: color("--faint"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1 } };
  const paths = uPlot.paths.bars?.({ size: [0.7, 36], align: 1 });
  const value = (bar: number) => (_: uPlot, __: number | null, ___: number, at: number | null): string => {
    const shown = at === null ? null : valueAt(bar, at);
    return shown === null ? "" : `${figure(Math.round(shown))}${unit}`;
  };
  return {
    width,
    height: HEIGHT,
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { range: (_, min, max) => [min, max + 3600] }, y: { range: (_, __, max) => [0, Math.max(1, max * 1.1)] } },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map(tickWords) },
      { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => `${figure(tick)}${unit}`) },
    ],
    series: [
      { label: "Hour", value: (_, at: number | null) => (at === null ? "" : `${DAY.format(at * 1000)}, ${CLOCK.format(at * 1000)}`) },
      ...bars.map((bar, at): uPlot.Series => {
        const base = { label: bar.label, stroke: color(bar.color), fill: color(bar.color), width: 0, points: { show: false }, value: value(at) };
        return paths ? { ...base, paths } : base;
      }),
    ],
  };
}

function Table({ hours }: { hours: Hour[] }): JSX.Element {
  return (
    <table class="list">
      <thead>
        <tr>
          {["Hour", "Attempts", "Delivered", "Given up", "Mean answer time"].map((word) => (
            <th key={word} scope="col">
              {word}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {hours.map((hour) => (
          <tr key={hour.hour}>
            <td data-label="Hour">{new Date(hour.hour).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" })}</td>
            <td data-label="Attempts">{figure(hour.attempts)}</td>
            <td data-label="Delivered">{figure(hour.delivered)}</td>
            <td data-label="Given up">{figure(hour.failed)}</td>
            <td data-label="Mean answer time">{Math.round(hour.latency_mean_ms)} ms</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
