-- The rows of generation 3's quality database.

-- name: before
-- The people: one account without a profile for the administrator, then an account and a profile for each agent.
-- The first agents lead the teams, the very first one leads everybody.
insert into agent_accounts (username, email, password_hash, last_login_at, created_at, updated_at)
select 'admin', 'admin@callytics.example', hash, null, '2024-12-20 00:10:00', '2024-12-20 00:10:00'
from temp.password where n = 0;

insert into agent_accounts
    (id, username, email, password_hash, account_status, last_login_at, login_attempts, account_locked_until,
     created_at, updated_at)
select agent.n + 1, format('agent%04d', agent.n), iif(agent.n % 10 = 7, null, format('agent%04d@callytics.example', agent.n)),
       password.hash,
       case when agent.n % 23 = 0 then 'suspended' when agent.n % 17 = 0 then 'inactive' when agent.n % 29 = 0
            then 'pending' else 'active' end,
       iif(agent.n % 29 = 0, null, format('2025-06-%02dT%02d:%02d:%02d.%06d', 1 + agent.salt % 28, 8 + agent.salt % 9,
                                          agent.salt % 60, agent.salt % 59, agent.salt % 999983)),
       iif(agent.n % 23 = 0, 5, agent.salt % 3),
       iif(agent.n % 23 = 0, format('2025-06-%02dT09:30:00.%06d', 1 + agent.salt % 28, agent.salt % 999983), null),
       '2024-12-20 00:10:00', '2025-01-02 00:00:00'
from temp.agent join temp.password on password.n = agent.n % (select count(*) from temp.password)
order by agent.n;

insert into agent_profiles
    (account_id, employee_id, full_name, first_name, last_name, department, position, team, supervisor_id, hire_date,
     experience_years, specialization, contact_number, profile_image_path, bio, is_active, created_at, updated_at)
select agent.n + 1, format('E%05d', 10000 + agent.n * 7), agent.name, given, surname, department.name,
       case when agent.n = 1 then '센터장' when agent.n <= teams then '팀장' when years >= 4 then '선임 상담사' else '상담사' end,
       format('%s %d조', department.name, team),
       case when agent.n = 1 then null when agent.n <= teams then 1
            else (select leader.n from temp.agent as leader where leader.team = agent.team and leader.n <= teams) end,
       hired, iif(agent.n % 19 = 0, null, years),
       iif(agent.n % 8 = 3, null, specialization.name),
       format('010-%04d-%04d', 2000 + agent.salt % 7000, agent.salt / 7000 % 10000),
       iif(agent.n % 3 = 0, format('profiles/%04d.png', agent.n), null),
       iif(agent.n % 4 = 1, format('%s 업무를 %d년째 맡고 있는 %s입니다.', department.name, years + 1, agent.name), null),
       agent.n % 17 <> 0, '2024-12-20 00:12:00', '2025-01-02 00:00:00'
from temp.agent
join (select max(team) as teams from temp.agent)
join temp.department on department.n = agent.team % (select count(*) from temp.department)
left join temp.specialization on specialization.n = agent.salt % (select count(*) from temp.specialization)
order by agent.n;

insert into agent_teams (team_name, department, team_leader_id, team_description, is_active, created_at, updated_at)
select team, department, id, iif(id % 2 = 0, department || '의 ' || position || ' ' || full_name || ' 조', null), 1,
       '2024-12-20 00:15:00', '2025-01-02 00:00:00'
from agent_profiles
where id <= (select max(team) from temp.agent)
order by id;

-- Who leads a team leads its members; one in fifteen has left the team since.
insert into agent_team_memberships (agent_id, team_id, role_in_team, joined_date, left_date, is_active, created_at)
select agent.n, agent_teams.id,
       case when agent_teams.team_leader_id = agent.n then 'leader' when years >= 6 then 'mentor'
            when years = 0 then 'trainee' else 'member' end,
       max(hired, '2024-01-02'), iif(agent.n % 15 = 14, '2025-03-31', null), agent.n % 15 <> 14, '2024-12-20 00:20:00'
from temp.agent
join agent_profiles on agent_profiles.id = agent.n
join agent_teams on agent_teams.team_name = agent_profiles.team
order by agent.n;

update agent_teams set team_size =
    (select count(*) from agent_team_memberships where team_id = agent_teams.id and is_active = 1);

insert into agent_permissions
    (agent_id, permission_type, permission_level, granted_at, granted_by, expires_at, is_active)
select agent.n, type, level, '2024-12-20 00:30:00', iif(agent.n = 1, null, 1),
       iif(agent.n % 6 = 0, '2025-12-31 14:59:59', null), agent.n % 17 <> 0
from temp.agent cross join temp.permission
where permission.n < 2
   or (permission.n < 4 and agent.n <= (select max(team) from temp.agent))
   or (type = 'trainer' and agent.n % 9 = 0)
   or (type = 'admin' and agent.n = 1);

insert into agent_training_history
    (agent_id, training_type, training_name, training_provider, training_date, training_duration_hours,
     completion_status, score, certificate_path, training_notes, impact_on_performance, created_at)
select agent, type, name, provider, date('2024-07-01', format('+%d days', 300 * dice)), hours,
       case when dice < 0.8 then 'completed' when dice < 0.88 then 'in_progress' when dice < 0.95 then 'not_started'
            else 'failed' end,
       iif(dice < 0.8, round(60 + 40 * dice2, 1), iif(dice >= 0.95, round(59 * dice2, 1), null)),
       iif(dice < 0.8 and provider is not null, format('certificates/%04d-%s.pdf', agent, type), null),
       iif(dice2 < 0.2, '현장 실습 포함', null), iif(dice2 > 0.7, '교육 후 품질 점수 상승', null),
       datetime('2024-07-01', format('+%d days', 300 * dice), '+8 hours')
from (select agent.n as agent, training.*, (agent.salt * training.salt >> 8 & 16383) / 16383.0 as dice,
             (agent.salt * training.salt >> 22 & 16383) / 16383.0 as dice2
      from temp.agent cross join temp.training)
where dice2 < 0.7 or type = 'compliance';

insert into agent_settings
    (agent_id, language_preference, timezone, notification_preferences, dashboard_preferences, analysis_preferences,
     privacy_settings, created_at, updated_at)
select n, iif(n % 20 = 0, 'en', 'ko'), 'Asia/Seoul',
       format('{"email": %s, "push": true, "digest": "%s"}', iif(n % 3, 'true', 'false'), iif(n % 2, 'daily', 'weekly')),
       iif(n % 4, format('{"widgets": ["quality", "sentiment", "team"], "columns": %d}', 2 + n % 3), null),
       iif(n % 5, format('{"min_confidence": %.2f, "language": "ko"}', 0.5 + (n % 7) * 0.05), null),
       '{"share_statistics": ' || iif(n % 6, 'true', 'false') || ', "maskCustomerNames": true}',
       '2024-12-20 00:25:00', '2025-01-02 00:00:00'
from temp.agent;

-- name: batch
-- The sessions and everything their analyses wrote.
insert into consultation_sessions
select session, id, day, duration / 60.0, agent_name, format('C%07d', noise % 9999991), consultation_type,
       iif(dice < 0.01, null, quality), 'completed',
       strftime('%Y-%m-%dT%H:%M:%S', epoch + 32400, 'unixepoch') || format('.%06d', dice * 999999),
       strftime('%Y-%m-%dT%H:%M:%S', epoch + 32455, 'unixepoch') || format('.%06d', dice2 * 999999),
       null, measured.summary, '["' || issue || '"]',
       case when quality > 0.45 then 'resolved' when quality > 0.33 then 'partially_resolved'
            when quality > 0.25 then 'escalated' else 'unresolved' end,
       iif(dice3 < 0.3, null, 0.7 * quality + 0.3 * dice), created, datetime(epoch + 60, 'unixepoch')
from measured join temp.scenario on scenario.n = measured.scenario
where completed
order by session;

insert into utterances
    (audio_path, speaker, start_time, end_time, text, confidence, sequence, sentiment, profane, created_at)
select 'audio\' || file_name, iif(speaker = 'A', '상담사', '고객'), start_time, end_time, text,
       1.0 - 0.5 * dice2 * dice2, n + 1, case tone when 1 then '긍정' when -1 then '부정' else '중립' end,
       profane + (profane and dice > 0.8), created
from spoken
where completed;

insert into quality_metrics
    (session_id, metric_name, metric_value, metric_description, weight, category, created_at, metric_group)
select session, name, base + spread * (0.5 * quality + 0.5 * dice), description, weight, category, created,
       iif(day < '2025-02-15', null, metric_group)
from each_quality_metric;

insert into sentiment_analysis
    (session_id, speaker_type, sentiment_score, emotion_category, confidence, analysis_timestamp, created_at)
select session, 'customer', max(-1.0, min(1.0, late / 2.0 + 0.3 * (quality - 0.5))),
       case when quality > 0.7 then 'happy' when quality > 0.5 then 'satisfied' when quality > 0.4 then 'neutral'
            when quality > 0.32 then 'confused' when quality > 0.27 then 'anxious' when quality > 0.2 then 'frustrated'
            else 'angry' end,
       0.6 + 0.4 * dice, strftime('%Y-%m-%dT%H:%M:%S', epoch + 32440, 'unixepoch') || format('.%06d', dice * 999999), created
from measured join temp.script on script.n = measured.script
where completed
union all
select session, 'agent', 0.5 * quality + 0.3 * dice2, iif(dice2 < 0.8, 'neutral', 'satisfied'), 0.7 + 0.3 * dice3,
       strftime('%Y-%m-%dT%H:%M:%S', epoch + 32441, 'unixepoch') || format('.%06d', dice2 * 999999), created
from measured
where completed;

insert into communication_patterns
    (session_id, pattern_type, frequency, severity_score, description, impact_on_quality, created_at)
select session, type, 1 + cast(4 * dice2 as integer), iif(impact = 'negative', dice2, null), description, impact, created
from each_pattern
where dice < 0.35;

insert into improvement_suggestions
    (session_id, suggestion_category, suggestion_text, priority, implementation_difficulty, expected_impact,
     target_audience, created_at)
select session, category, text, priority, difficulty, impact, audience, created
from each_suggestion
where dice < 0.3 - 0.2 * quality;

insert into consultation_keywords (session_id, keyword, frequency, importance_score, category, created_at)
select session, keyword, 1 + cast(6 * dice as integer), iif(dice2 < 0.05, null, 0.3 + 0.7 * dice), category, created
from each_keyword
where dice2 < 0.8;

insert into agent_performance
    (agent_name, session_id, performance_score, strengths, areas_for_improvement, training_recommendations, created_at)
select agent_name, session, 0.7 * quality + 0.3 * dice, json_array(strength.text), 
       iif(quality > 0.6, null, json_array(strength.weakness)), iif(quality > 0.5, '[]', json_array(strength.training)), created
from measured join temp.strength on strength.n = noise % 5
where completed;

-- A reprocessed session has a failed analysis before the good one.
insert into analysis_history
    (session_id, analysis_type, status, started_at, completed_at, error_message, reprocess_count, triggered_by,
     parameters, result_summary, created_at)
select session, type, 'completed',
       strftime('%Y-%m-%dT%H:%M:%S', epoch + 32400, 'unixepoch') || format('.%06d', dice * 999999),
       strftime('%Y-%m-%dT%H:%M:%S', epoch + 32401 + seconds, 'unixepoch') || format('.%06d', dice2 * 999999),
       null, dice3 < 0.02, iif(dice3 < 0.02, 'manual', 'auto'), format('{"model": "%s", "language": "ko"}', model),
       iif(type = 'llm', summary, null), created
from each_analysis_step
union all
select session, type, 'failed',
       strftime('%Y-%m-%dT%H:%M:%S', epoch + 32200, 'unixepoch') || format('.%06d', dice * 999999),
       null, 'TimeoutError: no answer within 60 seconds', 0, 'auto', format('{"model": "%s", "language": "ko"}', model),
       null, created
from each_analysis_step
where dice3 < 0.02;

insert into consultation_analysis
    (consultation_id, audio_path, business_type, classification_type, detail_classification, consultation_result,
     summary, customer_request, solution, additional_info, confidence, processing_time, created_at)
select format('CONSULT_%s_%06d', replace(day, '-', ''), id), 'audio\' || file_name, business_type, classification_type,
       detail_classification, case when quality > 0.45 then '만족' when quality > 0.3 then '미흡' else '추가 상담 필요' end,
       measured.summary, customer_request, measured.solution, iif(dice < 0.1, null, measured.additional_info),
       0.6 + 0.4 * dice2, iif(dice3 < 0.02, null, 20.0 + 60.0 * dice3), created
from measured join temp.scenario on scenario.n = measured.scenario
where completed;

insert into communication_quality
    (audio_path, consultation_id, honorific_ratio, positive_word_ratio, negative_word_ratio, euphonious_word_ratio,
     empathy_ratio, apology_ratio, total_sentences, customer_sentiment_early, customer_sentiment_late,
     customer_sentiment_trend, avg_response_latency, task_ratio, suggestions, interruption_count, silence_ratio,
     talk_ratio, analysis_details, created_at)
select 'audio\' || file_name, format('CONSULT_%s_%06d', replace(day, '-', ''), id),
       round(honorific, 2), round(positive, 2), round(negative, 2), round(euphonious, 2), round(empathy, 2),
       round(apology, 2), agent_turns, early, late, late - early, latency * tempo, task_ratio,
       cast(3 * dice as integer), interruptions, silence_ratio, talk_ratio,
       iif(dice2 < 0.1, null,
           format('{"version": "2.%d", "agent_sentences": %d, "customer_sentences": %d, "note": %s}',
                  dice * 4, agent_turns, turns - agent_turns, json_quote(measured.additional_info))),
       created
from measured join temp.script on script.n = measured.script
where completed;

-- Two analyses a session: a report, which has all the details, and one other kind.
insert into llm_analysis
select 2 * session - 1, session, 'comprehensive_report',
       format('{"summary": %s, "quality": {"overall": %.4f, "empathy": %.4f, "grade": "%s"}, "issues": ["%s"], '
              || '"customer": {"name": "%s", "request": %s}, "resolved": %s}',
              json_quote(measured.summary), quality, 0.6 * quality + 0.4 * dice2, substr('DCBA', 1 + min(3, quality * 4), 1),
              issue, customer, json_quote(customer_request), iif(quality > 0.45, 'true', 'false')),
       'gpt-4o-mini-2024-07-18', '{"temperature": 0.2, "max_tokens": 2048, "prompt": "report_v4"}',
       iif(dice < 0.02, null, 0.6 + 0.4 * dice), 4.0 + 30.0 * dice2, created, created
from measured join temp.scenario on scenario.n = measured.scenario
where completed
union all
select 2 * session, session, llm_type.name,
       format('{"summary": %s, "score": %.4f, "turning_points": [%.2f, %.2f], "next_step": null}',
              json_quote(measured.solution), 0.6 * quality + 0.4 * dice, duration * 0.3, duration * 0.8),
       iif(day < '2025-03-01', 'gpt-4o-mini-2024-07-18', 'midm-2.0-base'),
       iif(dice3 < 0.1, null, format('{"temperature": 0.0, "prompt": "%s"}', llm_type.prompt)),
       0.5 + 0.5 * dice2, 2.0 + 9.0 * dice3, created, created
from measured join temp.llm_type on llm_type.n = 1 + noise % 6
where completed
order by 1;

insert into llm_summary_analysis
    (llm_analysis_id, overall_summary, key_points, customer_concerns, agent_actions, resolution_status,
     satisfaction_indicators, created_at)
select 2 * session - 1, measured.summary, json_array(customer_request, measured.solution),
       iif(dice < 0.2, '[]', json_array(issue)), json_array('본인 확인', measured.solution),
       case when quality > 0.45 then 'resolved' when quality > 0.33 then 'partially_resolved'
            when quality > 0.25 then 'escalated' else 'unresolved' end,
       iif(dice2 < 0.1, null, format('{"thanks": %d, "complaints": %d, "score": %.3f}', 1 + dice * 3, dice2 * 3, quality)),
       created
from measured join temp.scenario on scenario.n = measured.scenario
where completed;

insert into llm_issue_detection
    (llm_analysis_id, issue_type, issue_description, severity_level, occurrence_time, impact_description,
     suggested_solution, priority_score, created_at)
select 2 * session - 1, type, description, severity, duration * dice2, effect, iif(dice3 < 0.1, null, remedy), dice3, created
from each_issue
where dice < 0.25 - 0.2 * quality;

insert into llm_sentiment_timeline
    (llm_analysis_id, speaker_type, time_segment_start, time_segment_end, dominant_emotion, emotion_intensity,
     sentiment_score, emotion_triggers, communication_quality, created_at)
select 2 * session - 1, iif(n % 2, 'customer', 'agent'), start_time, end_time,
       case when n = 4 then 'frustrated' when quality > 0.5 then 'satisfied' else 'neutral' end,
       dice, 2.0 * (0.5 * quality + 0.5 * dice2) - 1.0, iif(dice3 < 0.6, '[]', json_array(name)), 0.6 * quality + 0.4 * dice3,
       created
from each_phase
where n % 2 = 1 or n = 4;

insert into llm_improvement_recommendations
    (llm_analysis_id, recommendation_category, recommendation_text, rationale, expected_impact,
     implementation_difficulty, target_audience, priority_level, cost_estimate, timeline_estimate, success_metrics,
     created_at)
select 2 * session - 1, category, text, rationale, impact, difficulty, audience, priority, cost, timeline,
       format('{"metric": "%s", "target": %.2f}', metric, 0.5 + dice / 2), created
from each_recommendation
where dice2 < 0.3;

insert into llm_communication_analysis
    (llm_analysis_id, communication_style, empathy_level, professionalism_score, clarity_score, responsiveness_score,
     active_listening_score, problem_solving_approach, customer_engagement_level, communication_breakdowns,
     strengths_identified, areas_for_improvement, created_at)
select 2 * session - 1, style, 0.6 * quality + 0.4 * dice, 0.5 + 0.5 * dice2, 0.4 + 0.6 * dice3, 0.5 * quality + 0.5 * dice3,
       iif(dice < 0.03, null, 0.5 * quality + 0.5 * dice2), approach, 0.3 + 0.7 * dice, iif(quality > 0.5, '[]', json_array('응답 지연')),
       json_array(strength.text), iif(quality > 0.6, null, json_array(weakness)), created
from measured join temp.strength on strength.n = noise % 5
where completed;

-- One session in ten was evaluated by the supervisor.
insert into agent_performance_history
    (agent_id, session_id, performance_score, quality_score, customer_satisfaction_score, resolution_rate,
     average_handling_time, session_count, strengths_identified, areas_for_improvement, training_recommendations,
     evaluation_date, evaluator_id, evaluation_notes, created_at)
select agent, session, 0.7 * quality + 0.3 * dice, quality, iif(dice3 < 0.3, null, 0.6 * quality + 0.4 * dice2),
       0.5 + 0.5 * dice2, 2.0 + 6.0 * dice, 5 + cast(30 * dice3 as integer), json_array(strength.text),
       json_array(weakness), iif(quality > 0.5, null, json_array(training)), date(day, '+7 days'),
       agent_profiles.supervisor_id, iif(dice2 < 0.5, null, '정기 평가'), datetime(epoch + 604800, 'unixepoch')
from measured
join agent_profiles on agent_profiles.id = measured.agent
join temp.strength on strength.n = noise % 5
where completed and session % 10 = 1;

-- An upload for each call, now and then something else.
insert into agent_activity_logs
    (agent_id, activity_type, activity_description, ip_address, user_agent, session_id, activity_data, created_at)
select agent, type, description, format('10.20.%d.%d', agent % 8, 10 + agent % 240),
       iif(agent % 3, 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0.0.0', 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0'),
       iif(type = 'profile_update', null, format('%08x%08x', noise, agent * 2654435 + noise % 8)),
       case type when 'audio_upload' then format('{"file": "%s", "seconds": %.1f}', file_name, duration)
                 when 'analysis_view' then format('{"session": %d, "tab": "%s"}', session, iif(dice2 < 0.5, 'summary', 'quality')) end,
       datetime(epoch - 90 + 30 * n, 'unixepoch')
from each_activity
where type = 'audio_upload' or dice < 0.12;

insert into sentiment_timeline
    (session_id, speaker_type, time_start, time_end, dominant_emotion, emotion_intensity, sentiment_score, confidence,
     emotion_triggers, context_description, communication_quality, created_at)
select session, iif(n % 2, 'customer', 'agent'), start_time, end_time,
       case when n = 4 then iif(quality < 0.35, 'angry', 'disappointed') when n = 1 and quality < 0.4 then 'anxious'
            when n = 5 and quality > 0.6 then 'happy' when n = 3 and dice < 0.2 then 'confused'
            when n = 3 and dice > 0.9 then 'surprised' when n = 5 then 'satisfied' when n = 1 and dice > 0.6 then 'frustrated'
            else 'neutral' end,
       dice, 2.0 * (0.5 * quality + 0.5 * dice2) - 1.0, 0.5 + 0.5 * dice3, iif(dice3 < 0.5, null, json_array(name)),
       iif(dice2 < 0.3, null, name || ' 구간'), 0.6 * quality + 0.4 * dice, created
from each_phase;

insert into detailed_quality_metrics
    (session_id, metric_category, metric_subcategory, metric_name, metric_value, metric_unit, metric_description,
     measurement_method, weight, threshold_min, threshold_max, is_critical, created_at)
select session, category, subcategory, name, base + spread * dice, unit, null, method, weight, minimum, maximum, critical, created
from each_detailed_metric;

insert into communication_pattern_analysis
    (session_id, pattern_type, pattern_subtype, occurrence_count, total_duration, average_duration, severity_score,
     impact_on_quality, effectiveness_score, context_description, improvement_suggestion, created_at)
select session, type, subtype, 1 + cast(5 * dice2 as integer), 20.0 * dice2, 20.0 * dice2 / (1 + cast(5 * dice2 as integer)),
       iif(impact = 'negative', dice3, null), impact, 0.5 * quality + 0.5 * dice3, context, improvement, created
from each_detailed_pattern
where dice < 0.5;

insert into consultation_phase_analysis
    (session_id, phase_name, phase_start_time, phase_end_time, phase_duration, phase_quality_score,
     phase_effectiveness_score, key_activities, challenges_encountered, strengths_demonstrated, areas_for_improvement,
     customer_satisfaction_phase, created_at)
select session, name, start_time, end_time, end_time - start_time, 0.6 * quality + 0.4 * dice, 0.4 + 0.6 * dice2,
       case n when 0 then '["인사", "용건 확인"]' when 1 then '["문제 청취", "공감 표현"]' when 2 then '["본인 확인", "조회"]'
              when 3 then '["해결책 안내", "조건 설명"]' when 4 then '["사과", "대안 제시"]' when 5 then '["처리", "결과 안내"]'
              else '["추가 문의 확인", "종료 인사"]' end,
       iif(dice3 < 0.7, '[]', '["고객이 같은 질문을 반복함"]'), iif(dice < 0.3, null, '["존댓말 사용", "차분한 설명"]'),
       iif(dice2 < 0.6, null, '["응답 속도"]'), iif(dice3 < 0.1, null, 0.7 * quality + 0.3 * dice3), created
from each_phase;

insert into agent_behavior_analysis
    (session_id, behavior_type, behavior_score, behavior_frequency, behavior_duration, behavior_effectiveness,
     behavior_context, customer_response, improvement_opportunity, best_practice_demonstrated, created_at)
select session, type, 0.6 * quality + 0.4 * dice, 1 + cast(7 * dice2 as integer), duration * 0.2 * dice3,
       0.5 * quality + 0.5 * dice2, context, response, opportunity, dice > 0.85, created
from each_behavior
where dice3 < 0.4;

insert into customer_response_analysis
    (session_id, response_type, response_intensity, response_duration, trigger_action, response_impact,
     follow_up_required, escalation_risk, response_description, created_at)
select session, type, 0.2 + 0.8 * dice2, 1.0 + 9.0 * dice3, trigger, impact, risk > 0.5 and dice3 > 0.5,
       risk * (1.0 - quality), description, created
from each_response
where dice < iif(risk > 0.3, 0.5 * (1.0 - quality), 0.5);

-- name: after
-- Rows were deleted at the end: the next id is not the highest plus one.
update sqlite_sequence set seq = seq + 5 where name in ('consultation_sessions', 'agent_activity_logs');
update sqlite_sequence set seq = seq + 143 where name = 'utterances';
update sqlite_sequence set seq = seq + 1 where name in ('agent_accounts', 'agent_profiles', 'agent_team_memberships');
