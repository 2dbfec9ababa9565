//! What waited while nothing delivered, and how fast it goes out then.

use serde_json::json;

use crate::{
    lab::{Lab, ROLES},
    load::Load,
    report::Report,
    results::Results,
    sink::now_micros,
    system::{Pace, System},
    usage::Watch,
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Messages that wait.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) messages: u32,
    /// Messages of the run as fast as it goes that it is compared with.
    #[arg(long, default_value_t = 30_000)]
    pub(crate) top: u32,
    /// Endpoints they are spread over.
    #[arg(long, default_value_t = 100)]
    pub(crate) endpoints: u32,
}

pub(crate) async fn run(options: &Options, results: &mut Results) -> anyhow::Result<()> {
    let &Options {
        messages,
        top,
        endpoints,
    } = options;
    let lab = Lab::start().await?;
    let report = Load::new(top, endpoints, Pace::Flat).run(&lab).await?;
    lab.stop().await?;
    let top = report.rate();
    results.keep("backlog", "while publishing", &report);

    let mut lab = Lab::prepare(&[]).await?;
    let load = Load::new(messages, endpoints, Pace::Flat);
    load.register(&lab).await?;
    let sent = lab.publish(load.plan()).await?;
    lab.launch(ROLES).await?;
    let watch = Watch::start(lab.parts()?)?;
    let began = now_micros();
    let seen = load.wait(&lab, 0, &sent).await?;
    let report = Report::of(load.books(&sent, &seen), began, watch.end())?;
    lab.stop().await?;
    results.keep("backlog", "backlog", &report);
    let drain = report.drain_rate();
    results.figures(json!({"top_per_s": top, "drain_per_s": drain, "ratio": drain / top}));
    results.say(format!(
        "backlog of {messages} over {endpoints} endpoints: {drain:.0} deliveries/s, {:.2} of the \
         {top:.0}/s as fast as it goes while \
         publishing; lost {}, twice {}, {:.0} µs CPU each, {:.1} MiB at the end (wahook)",
        drain / top,
        report.published - report.delivered,
        report.duplicates,
        report.cpu_each(),
        crate::report::mebibytes(report.rss_bytes()),
    ));
    Ok(())
}
