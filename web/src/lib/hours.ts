import type { Hour } from "./types";

export const HOUR_MS = 3_600_000;

export interface Series {
  times: number[];
  delivered: number[];
  failed: number[];
  others: number[];
  latency: (number | null)[];
}

/** One value for each hour, also for those without an attempt. */
export function filled(hours: Hour[], since: number, count: number): Series {
  const known = new Map(hours.map((hour) => [Date.parse(hour.hour), hour]));
  const series: Series = { times: [], delivered: [], failed: [], others: [], latency: [] };
  for (let at = 0; at < count; at += 1) {
    const time = since + at * HOUR_MS;
    const hour = known.get(time);
    series.times.push(time / 1000);
    series.delivered.push(hour?.delivered ?? 0);
    series.failed.push(hour?.failed ?? 0);
    series.others.push(hour ? Math.max(0, hour.attempts - hour.delivered - hour.failed) : 0);
    series.latency.push(hour ? hour.latency_mean_ms : null);
  }
  return series;
}
